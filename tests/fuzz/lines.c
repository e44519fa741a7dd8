/* Keys of an index that is being written, in any order, some again: against a list of all that were there, whatever is
 * held in memory; and the index that comes of it reads back. The first byte says how much is held; then a line a sample:
 * key, tab, name. */
#include <string.h>
#include <sys/stat.h>

#include "data/index.h"
#include "data/lines.h"
#include "tests/fuzz/fuzz.h"

enum { MOST = 2000 };
static char dir[64], path[96];
static struct { char *key, *name; } sample[MOST];
static int64_t samples;

static void leave(void)
{
    unlink(path);
    rmdir(dir);
}

static void enter(void)
{
    snprintf(dir, sizeof dir, "/tmp/lafs-fuzz-lines.XXXXXX");
    must(mkdtemp(dir) != NULL);
    snprintf(path, sizeof path, "%s/x.lafs", dir);
    atexit(leave);
}

static int was_there(const char *key)
{
    for (int64_t i = 0; i < samples; i++)
        if (!strcmp(sample[i].key, key)) return 1;
    return 0;
}

static void put_all(struct lafs_lines *l, char *text, struct lafs_err *err)
{
    for (char *line = text, *next; *line && samples < MOST; line = next) {
        size_t len = strcspn(line, "\n");
        next = line + len + (line[len] != 0);
        line[len] = 0;
        char *tab = strchr(line, '\t'), *name = tab ? tab + 1 : line + len;
        if (tab) *tab = 0;
        if (lafs_key_valid(line, NULL) != LAFS_OK) continue;
        lafs_status st = lafs_lines_claim(l, line, err);
        must(st == (was_there(line) ? LAFS_BAD_RECORD : LAFS_OK));
        if (st != LAFS_OK) continue;
        sample[samples].key = line, sample[samples].name = name;
        must(lafs_lines_put(l, 0, samples, 1, line, name, err) == LAFS_OK);
        samples++;
    }
}

/* The lines between what stands before and behind them in an index. */
static void write_index(struct lafs_lines *l, struct lafs_err *err)
{
    struct lafs_atomic f;
    struct lafs_buf b;
    const struct lafs_pixels pixels = {0};
    lafs_buf_init(&b);
    must(lafs_atomic_open(&f, path, err) == LAFS_OK);
    lafs_index_put_head(&b, &pixels);
    lafs_index_put_shard(&b, "x.tar", MOST + 1, "");
    must(lafs_atomic_write(&f, b.data, b.size, err) == LAFS_OK && lafs_lines_copy(l, &f, err) == LAFS_OK);
    lafs_buf_clear(&b);
    lafs_index_put_end(&b, 1, samples);
    must(lafs_atomic_write(&f, b.data, b.size, err) == LAFS_OK && lafs_atomic_commit(&f, err) == LAFS_OK);
    lafs_buf_release(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lafs_lines l;
    struct lafs_err err = {0};
    struct lafs_index *ix;
    if (!dir[0]) enter();
    char *text = calloc(size + 1, 1);
    must(text != NULL);
    if (size) memcpy(text, data + 1, size - 1);
    samples = 0;
    lafs_lines_init(&l, path);
    l.hold = size && data[0] % 2 ? 64 : 4096;
    l.keys.held = 1024;
    put_all(&l, text, &err);
    write_index(&l, &err);
    must(lafs_index_read(&ix, path, &err) == LAFS_OK && ix->samples == samples);
    for (int64_t i = 0; i < samples; i++)
        must(ix->sample[i].offset == i && !strcmp(ix->sample[i].key, sample[i].key) &&
             !strcmp(ix->sample[i].name, sample[i].name));
    lafs_index_free(ix);
    lafs_lines_release(&l);
    free(text);
    return 0;
}
