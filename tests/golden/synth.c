/* Rendered photos and their labels against those that lafs-synth rendered before: tests/golden/data/synth.txt, so that
 * the same seed goes on giving the same people. The photos show every style, thing and weather there is at least once.
 *
 *     LAFS_GOLDEN_WRITE=tests/golden/data/synth.txt build/HASH/tests/golden/synth    # after a change that is meant */
#include "tests/test.h"

#include "synth/synth.h"

enum { SIDE = 100, CELLS = 10, ONE = 16, LABELS = 4 + 136 + 6, VALUES = CELLS * CELLS + LABELS };

static const struct shot {
    int person, number, faces, width, height; /* 0: SIDE */
} shots[] = {
    {0, 1, 1},  {0, 3, 1},   {1, 1, 1},   {2, 1, 1},  {2, 2, 1},  {3, 1, 1},   {5, 2, 1}, {19, 1, 1}, {31, 2, 1}, {41, 1, 1},
    {91, 2, 1}, {179, 3, 1}, {350, 3, 1}, {40, 2, 1}, {44, 1, 1}, {205, 1, 1}, {7, 1, 2}, {8, 1, 5},  {9, 1, 8},
    {4, 1, 1, 60, 150}, {6, 1, 3, 300, 80},
};
enum { SHOTS = sizeof shots / sizeof *shots };

/* Means of cells of the picture, then the labels of its first face, of its last the middle, and more; ONE is 1. */
static void measure(const struct lafs_synth_photo *p, int value[VALUES])
{
    const struct lafs_synth_face *f = &p->face[0], *last = &p->face[p->faces - 1];
    const int w = p->image.w / CELLS, h = p->image.h / CELLS;
    for (int c = 0; c < CELLS * CELLS; c++) {
        int sum = 0;
        for (int i = 0; i < w * h; i++) {
            int x = c % CELLS * w + i % w, y = c / CELLS * h + i / w;
            const uint8_t *px = p->image.px + 3 * (y * p->image.w + x);
            sum += px[0] + 2 * px[1] + 3 * px[2];
        }
        value[c] = (int)lrint(ONE * sum / (6.0 * w * h));
    }
    float label[LABELS];
    memcpy(label, f->box, sizeof f->box);
    memcpy(label + 4, f->points68, sizeof f->points68);
    const float more[6] = {f->yaw, f->pitch, f->roll, (float)p->quality, last->points[0], last->points[1]};
    memcpy(label + 140, more, sizeof more);
    for (int i = 0; i < LABELS; i++) value[CELLS * CELLS + i] = (int)lrintf(ONE * label[i]);
}

static void write_values(FILE *f, const int value[VALUES])
{
    for (int i = 0; i < VALUES; i++) fprintf(f, "%d%c", value[i], i % 20 == 19 || i == VALUES - 1 ? '\n' : ' ');
}

/* Another libm may round otherwise: a pixel here and there is another one, no label and hardly a mean. */
static int compare(int shot, const int got[VALUES], const int want[VALUES])
{
    int off = 0;
    for (int i = 0; i < CELLS * CELLS; i++) off += abs(got[i] - want[i]) > ONE / 5;
    for (int i = CELLS * CELLS; i < VALUES; i++)
        if (abs(got[i] - want[i]) > 1) {
            FAIL_("shot %d: label %d is %d, not %d sixteenths", shot, i - CELLS * CELLS, got[i], want[i]);
            return off;
        }
    return off;
}

TEST(as_ever)
{
    const char *dir = getenv("LAFS_GOLDEN"), *write = getenv("LAFS_GOLDEN_WRITE");
    char path[4096];
    snprintf(path, sizeof path, "%s/synth.txt", dir ? dir : "tests/golden/data");
    FILE *f = write ? fopen(write, "w") : fopen(path, "r");
    REQUIRE(f);
    int off = 0;
    struct lafs_err err;
    struct lafs_synth_photo p;
    lafs_synth_photo_init(&p);
    for (int k = 0; k < SHOTS; k++) {
        const int w = shots[k].width, h = shots[k].height;
        struct lafs_synth_options opt = {1, w ? w : SIDE, h ? h : SIDE, shots[k].faces, shots[k].faces};
        struct lafs_synth *s;
        struct lafs_synth_work *work;
        int got[VALUES], want[VALUES];
        REQUIRE_OK(lafs_synth_new(&s, &opt, &err), &err);
        REQUIRE_OK(lafs_synth_work_new(&work, s, &err), &err);
        REQUIRE_OK(lafs_synth_render(s, work, shots[k].person, shots[k].number, &p, &err), &err);
        measure(&p, got);
        lafs_synth_work_free(work);
        lafs_synth_free(s);
        if (write) {
            write_values(f, got);
            continue;
        }
        for (int i = 0; i < VALUES; i++) REQUIRE(fscanf(f, "%d", &want[i]) == 1);
        off += compare(k, got, want);
    }
    if (off > 3) FAIL_("%d cells of the pictures are lighter or darker than they were", off);
    lafs_synth_photo_release(&p);
    fclose(f);
}

TEST_MAIN(as_ever)
