#include "data/keyset.h"

#include <string.h>

#include "base/atomicfile.h"
#include "base/mem.h"
#include "base/rng.h"

enum { PAGE = 256, FIRST_CAP = 1024 }; /* slots */
#define PAGE_BYTES (PAGE * sizeof(struct lafs_keyslot))

/* A table too large for memory. Pages never written are holes in the file: all free. */
struct lafs_keyfile {
    struct lafs_scratch f;
    size_t pages; /* that may be at hand: page p at place p % pages */
    struct hand {
        size_t page; /* + 1; 0: none */
        int changed;
    } hand[];
};

static void free_slots(struct lafs_keyset *k)
{
    if (k->file) lafs_scratch_close(&k->file->f);
    lafs_free(k->file);
    lafs_free(k->slot);
    k->file = NULL;
    k->slot = NULL;
}

void lafs_keyset_release(struct lafs_keyset *k)
{
    free_slots(k);
    k->cap = k->count = 0;
}

/* Memory for a table of k->cap slots, or its file. */
static lafs_status new_slots(struct lafs_keyset *k, struct lafs_err *err)
{
    size_t held = k->held ? k->held : LAFS_KEYSET_HELD;
    k->file = NULL;
    k->slot = NULL;
    if (!k->beside || k->cap <= held) return lafs_alloc0(&k->slot, k->cap, sizeof *k->slot, err);
    LAFS_TRY(lafs_alloc0(&k->file, 1, sizeof *k->file + held / PAGE * sizeof(struct hand), err));
    k->file->pages = held / PAGE;
    k->file->f.fd = -1;
    lafs_status st = lafs_scratch_open(&k->file->f, k->beside, err);
    if (st == LAFS_OK) st = lafs_alloc0(&k->slot, held, sizeof *k->slot, err);
    if (st != LAFS_OK) free_slots(k);
    return st;
}

static lafs_status bring_page(struct lafs_keyset *k, size_t page, struct lafs_err *err)
{
    struct hand *h = &k->file->hand[page % k->file->pages];
    struct lafs_keyslot *slot = k->slot + page % k->file->pages * PAGE;
    size_t got;
    if (h->changed)
        LAFS_TRY(lafs_scratch_write(&k->file->f, (int64_t)((h->page - 1) * PAGE_BYTES), slot, PAGE_BYTES, err));
    *h = (struct hand){0, 0};
    LAFS_TRY(lafs_scratch_read(&k->file->f, (int64_t)(page * PAGE_BYTES), slot, PAGE_BYTES, &got, err));
    memset((char *)slot + got, 0, PAGE_BYTES - got);
    h->page = page + 1;
    return LAFS_OK;
}

/* The slot in memory; until the next call. */
static lafs_status slot_at(struct lafs_keyset *k, size_t at, struct lafs_keyslot **slot, struct lafs_err *err)
{
    *slot = &k->slot[at];
    if (!k->file) return LAFS_OK;
    size_t page = at / PAGE, place = page % k->file->pages;
    if (k->file->hand[place].page != page + 1) LAFS_TRY(bring_page(k, page, err));
    *slot = &k->slot[place * PAGE + at % PAGE];
    return LAFS_OK;
}

static void take_slot(struct lafs_keyset *k, size_t at, struct lafs_keyslot *slot, struct lafs_keyslot value)
{
    *slot = value;
    if (k->file) k->file->hand[at / PAGE % k->file->pages].changed = 1;
}

/* By the upper bits, so that a table that grows is read and written from front to back. FNV's are weak on short keys
 * that differ at the end: mixed. */
static size_t place(const struct lafs_keyset *k, uint64_t hash)
{
    return (size_t)((hash ^ hash >> 32) * 0x9e3779b97f4a7c15u >> (64 - __builtin_ctzll(k->cap)));
}

/* The slot of the key, or the free one where it belongs. key NULL: that of a key that is not there. */
static lafs_status find_slot(struct lafs_keyset *k, uint64_t hash, const char *key, size_t len, size_t *at,
                             struct lafs_keyslot **slot, struct lafs_err *err)
{
    for (*at = place(k, hash);; *at = (*at + 1) & (k->cap - 1)) {
        LAFS_TRY(slot_at(k, *at, slot, err));
        if (!(*slot)->id) return LAFS_OK;
        if (!key || (*slot)->hash != hash) continue;
        int same = k->same(k->arg, (*slot)->id - 1, key, len);
        if (same < 0) return LAFS_FAILED;
        if (same) return LAFS_OK;
    }
}

static lafs_status copy_slots(struct lafs_keyset *to, struct lafs_keyset *from, struct lafs_err *err)
{
    struct lafs_keyslot *old, *slot;
    size_t at;
    for (size_t i = 0; i < from->cap; i++) {
        LAFS_TRY(slot_at(from, i, &old, err));
        if (!old->id) continue;
        LAFS_TRY(find_slot(to, old->hash, NULL, 0, &at, &slot, err));
        take_slot(to, at, slot, *old);
    }
    return LAFS_OK;
}

static lafs_status grow(struct lafs_keyset *k, struct lafs_err *err)
{
    struct lafs_keyset more = *k;
    more.cap = k->cap ? k->cap * 2 : FIRST_CAP;
    LAFS_TRY(new_slots(&more, err));
    lafs_status st = copy_slots(&more, k, err);
    free_slots(st == LAFS_OK ? k : &more);
    if (st == LAFS_OK) *k = more;
    return st;
}

lafs_status lafs_keyset_add(struct lafs_keyset *k, const char *key, size_t len, uint64_t id, struct lafs_err *err)
{
    struct lafs_keyslot *slot;
    size_t at;
    if (k->count >= k->cap - k->cap / 4) LAFS_TRY(grow(k, err));
    uint64_t hash = lafs_fnv1a(key, len);
    LAFS_TRY(find_slot(k, hash, key, len, &at, &slot, err));
    if (slot->id) return LAFS_END;
    take_slot(k, at, slot, (struct lafs_keyslot){hash, id + 1});
    k->count++;
    return LAFS_OK;
}

int lafs_keyset_find(const struct lafs_keyset *k, const char *key, size_t len, uint64_t *id)
{
    struct lafs_keyset in_memory = *k; /* nothing of it changes */
    struct lafs_keyslot *slot;
    size_t at;
    if (!k->cap || find_slot(&in_memory, lafs_fnv1a(key, len), key, len, &at, &slot, NULL) != LAFS_OK) return 0;
    if (!slot->id) return 0;
    *id = slot->id - 1;
    return 1;
}
