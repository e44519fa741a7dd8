/* Runs a fuzz target over its corpus, without a fuzzer: `build/../tests/fuzz/json` replays tests/fuzz/corpus/json/, or
 * the files that are named. What was found once is thus tried in every `make check`. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In memory of exactly its size, so that a sanitizer sees an overrun. */
static int replay(const char *path)
{
    struct lafs_buf b;
    struct lafs_err err;
    lafs_buf_init(&b);
    if (lafs_buf_read_file(&b, path, (size_t)64 << 20, &err) != LAFS_OK) {
        fprintf(stderr, "%s\n", err.msg);
        return 0;
    }
    uint8_t *exact = malloc(b.size ? b.size : 1);
    if (!exact) return 0;
    if (b.size) memcpy(exact, b.data, b.size);
    LLVMFuzzerTestOneInput(exact, b.size);
    free(exact);
    lafs_buf_release(&b);
    return 1;
}

int main(int argc, char **argv)
{
    char dir[4096], path[8192];
    const char *slash = strrchr(argv[0], '/');
    int done = 0, bad = 0;
    for (int i = 1; i < argc; i++) done++, bad += !replay(argv[i]);
    snprintf(dir, sizeof dir, "tests/fuzz/corpus/%s", slash ? slash + 1 : argv[0]);
    DIR *d = argc == 1 ? opendir(dir) : NULL;
    for (const struct dirent *e; d && (e = readdir(d));) {
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        done++, bad += !replay(path);
    }
    if (d) closedir(d);
    if (bad || done == 0) printf("FAIL replay of %s: %d inputs, %d unreadable\n", dir, done, bad);
    else printf("ok replay of %s: %d inputs\n", dir, done);
    return bad || done == 0;
}
