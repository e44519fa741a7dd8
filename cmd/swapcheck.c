#include "cmd/swapcheck.h"

#include "cmd/cli.h"
#include "data/face.h"

/* Pictures are grey often enough that a margin is needed, and lit blue seldom enough that most of them tell. */
enum { LOOK_AT = 64, FEWEST = 8, MARGIN = 2 };
#define SHARE 0.8

/* Mean of red less mean of blue over the middle half of each side. */
static double redness(const struct lafs_image *im)
{
    int64_t sum = 0, count = 0;
    for (int y = im->h / 4; y < im->h - im->h / 4; y++)
        for (int x = im->w / 4; x < im->w - im->w / 4; x++, count++) {
            const uint8_t *p = im->px + ((int64_t)y * im->w + x) * 3;
            sum += p[0] - p[2];
        }
    return (double)sum / (double)count;
}

void swapcheck_look(struct swapcheck *c, const struct lafs_sample *s)
{
    struct lafs_image im = {0};
    if (!c->wanted || c->looked == LOOK_AT) return;
    c->looked++;
    if (lafs_face_image(s, 1 << 20, &im, NULL) == LAFS_OK) {
        c->bluer += redness(&im) < -MARGIN;
        c->seen++;
        c->swapped = lafs_face_swapped(s);
    }
    lafs_image_release(&im);
}

void swapcheck_end(const struct swapcheck *c)
{
    if (c->seen < FEWEST || c->bluer < SHARE * c->seen) return;
    cli_warn("%d of the first %d faces are bluer than red: %s", c->bluer, c->seen,
             c->swapped ? "--channels bgr may be wrong for them" : "red and blue may be swapped, see --channels");
}
