#include "image/image.h"

#include <string.h>

#include "base/mem.h"

enum { MAX_SIDE = 65500 };

void lafs_image_release(struct lafs_image *im)
{
    lafs_free(im->px);
    memset(im, 0, sizeof *im);
}

lafs_status lafs_image_new(struct lafs_image *im, int w, int h, struct lafs_err *err)
{
    lafs_image_release(im);
    if (w < 1 || h < 1 || w > MAX_SIDE || h > MAX_SIDE)
        return lafs_fail(err, LAFS_BAD_RECORD, "an image of %d x %d pixels is not possible", w, h);
    LAFS_TRY(lafs_alloc(&im->px, (size_t)w * 3, (size_t)h, err));
    im->w = w;
    im->h = h;
    return LAFS_OK;
}
