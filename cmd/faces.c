#include "cmd/faces.h"

#include <string.h>

#include "data/face.h"

struct job {
    struct filter_item *items;
    const uint8_t *want;
    uint8_t *crops;
};

static void decode(void *arg, int64_t i, int worker)
{
    (void)worker;
    struct job *j = arg;
    struct filter_item *it = &j->items[i];
    struct lafs_image im = {0};
    if (it->status != LAFS_OK || (j->want && !j->want[i])) return;
    it->status = lafs_face_image(&it->in, cli.max_pixels, &im, &it->err);
    if (it->status == LAFS_OK && (im.w != FACE_SIDE || im.h != FACE_SIDE))
        it->status = lafs_fail(&it->err, LAFS_BAD_RECORD,
                               "the picture is %d x %d pixels, not 112 x 112 (align it with lafs-detect)", im.w, im.h);
    if (it->status == LAFS_OK) memcpy(j->crops + i * FACE_BYTES, im.px, FACE_BYTES);
    lafs_image_release(&im);
}

void faces_decode(struct filter_item *items, int n, const uint8_t *want, uint8_t *crops)
{
    struct job j = {items, want, crops};
    lafs_pool_for(cli_pool(), n, decode, &j);
}
