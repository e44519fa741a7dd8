#include "cmd/openindex.h"

#include "cmd/cli.h"

lafs_status openindex(struct lafs_index **out, const char *path, struct lafs_err *err)
{
    LAFS_TRY(lafs_index_open(out, path, err));
    if ((*out)->bad)
        cli_warn("'%s': samples that no index can list: %lld, the first: %s", path, (long long)(*out)->bad,
                 (*out)->bad_why.msg);
    return LAFS_OK;
}
