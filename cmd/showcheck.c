#include "cmd/showcheck.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/sha256.h"
#include "cmd/cli.h"
#include "cmd/printing.h"
#include "cmd/progress.h"
#include "data/index.h"

static lafs_status check_shard(const struct lafs_index_shard *s, const char *path, struct lafs_err *err)
{
    struct stat sb;
    char sha256[65];
    if (stat(path, &sb)) return lafs_fail(err, LAFS_FAILED, "cannot open '%s': %s", path, lafs_strerror(errno));
    if (sb.st_size != s->size)
        return lafs_fail(err, LAFS_FAILED, "'%s' has %lld bytes, its index says %lld", path, (long long)sb.st_size,
                         (long long)s->size);
    if (!s->sha256[0]) return LAFS_OK;
    LAFS_TRY(lafs_sha256_file(path, sha256, err));
    if (!strcmp(sha256, s->sha256)) return LAFS_OK;
    return lafs_fail(err, LAFS_FAILED, "'%s' is damaged, or not what was indexed: it has another SHA-256", path);
}

/* Names the shards that differ; counts them, and those without a digest. */
static lafs_status check_shards(const struct lafs_index *ix, int64_t *differ, int64_t *bare, struct lafs_err *err)
{
    struct progress progress = {0};
    struct lafs_buf b;
    lafs_status st = LAFS_OK;
    *differ = *bare = 0;
    lafs_buf_init(&b);
    progress_begin(&progress, "shards", ix->shards);
    for (int64_t i = 0; i < ix->shards; i++) {
        struct lafs_err why = {0};
        const char *path = lafs_index_shard_path(ix, i, &b);
        if (!path) {
            st = lafs_buf_check(&b, err);
            break;
        }
        *bare += !ix->shard[i].sha256[0];
        if (check_shard(ix->shard + i, path, &why) != LAFS_OK) {
            cli_error("%s", why.msg);
            ++*differ;
        }
        progress_update(&progress, i + 1);
    }
    progress_end(&progress);
    lafs_buf_release(&b);
    return st;
}

lafs_status check_index(const char *path, struct lafs_buf *text, struct lafs_err *err)
{
    struct lafs_index *ix;
    int64_t differ, bare;
    LAFS_TRY(lafs_index_read(&ix, path, err));
    lafs_status st = check_shards(ix, &differ, &bare, err);
    const int64_t n = ix->shards;
    lafs_index_free(ix);
    LAFS_TRY(st);
    if (differ)
        return lafs_fail(err, LAFS_FAILED, "'%s': %lld of %s not what the index says", path, (long long)differ,
                         n == 1 ? "1 shard is" : counted(n, "shards are").text);
    lafs_buf_printf(text, "%s: %s as written", path, counted(n, "shards").text);
    if (bare) lafs_buf_printf(text, "; %lld without a digest, of which only the size is known", (long long)bare);
    lafs_buf_putc(text, '\n');
    return lafs_buf_check(text, err);
}
