#include "eval/kept.h"

#include <string.h>

#include "base/mem.h"

void lafs_kept_release(struct lafs_kept *k)
{
    lafs_buf_release(&k->text);
    lafs_free(k->list);
    memset(k, 0, sizeof *k);
}

lafs_status lafs_kept_add(struct lafs_kept *k, int64_t entry, const char *key, const char *name, int32_t person,
                          struct lafs_err *err)
{
    if (k->count == k->cap) {
        int64_t cap = k->cap ? k->cap * 2 : 256;
        LAFS_TRY(lafs_resize(&k->list, (size_t)k->count, (size_t)cap, sizeof *k->list, err));
        k->cap = cap;
    }
    struct lafs_kept_entry *e = k->list + k->count;
    *e = (struct lafs_kept_entry){entry, k->text.size, k->text.size + strlen(key) + 1, person};
    lafs_buf_put(&k->text, key, strlen(key) + 1);
    lafs_buf_put(&k->text, name, strlen(name) + 1);
    LAFS_TRY(lafs_buf_check(&k->text, err));
    k->count++;
    return LAFS_OK;
}

static int64_t place(const struct lafs_kept *k, int64_t entry)
{
    int64_t lo = 0, hi = k->count;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        if (k->list[mid].entry < entry) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

const struct lafs_kept_entry *lafs_kept_find(const struct lafs_kept *k, int64_t entry)
{
    int64_t at = place(k, entry);
    return at < k->count && k->list[at].entry == entry ? k->list + at : NULL;
}

lafs_status lafs_kept_prune(struct lafs_kept *k, const struct lafs_search *s, struct lafs_err *err)
{
    if (k->count < 2 * k->live + 4096) return LAFS_OK;
    uint8_t *live;
    LAFS_TRY(lafs_alloc0(&live, (size_t)k->count, 1, err));
    for (int64_t i = 0; i < lafs_search_probes(s); i++) {
        int64_t n;
        const struct lafs_match *m = lafs_search_matches(s, i, &n);
        for (int64_t t = 0; t < n; t++) live[place(k, m[t].entry)] = 1;
    }
    int64_t to = 0;
    size_t end = 0;
    for (int64_t i = 0; i < k->count; i++) {
        struct lafs_kept_entry e = k->list[i];
        size_t next = i + 1 < k->count ? k->list[i + 1].key : k->text.size, size = next - e.key;
        if (!live[i]) continue;
        memmove(k->text.data + end, k->text.data + e.key, size);
        k->list[to++] = (struct lafs_kept_entry){e.entry, end, end + (e.name - e.key), e.person};
        end += size;
    }
    k->text.size = end;
    k->count = k->live = to;
    lafs_free(live);
    return LAFS_OK;
}
