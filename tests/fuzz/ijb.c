/* A folder of IJB whose lists are any bytes: points up to the first byte 1, then templates. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/stream.h"

static char dir[64], points[128], templates[128];

static void leave(void)
{
    char path[128];
    static const char *const part[] = {"/loose_crop/1.jpg", "/loose_crop", "/meta"};
    unlink(points);
    unlink(templates);
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s%s", dir, part[i]);
        remove(path);
    }
    rmdir(dir);
}

static void put(const char *path, const void *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, size, f) != size || fclose(f)) abort();
}

static void enter(void)
{
    char path[128];
    snprintf(dir, sizeof dir, "/tmp/lafs-fuzz-ijb.XXXXXX");
    if (!mkdtemp(dir)) abort();
    atexit(leave);
    snprintf(points, sizeof points, "%s/meta/x_name_5pts_score.txt", dir);
    snprintf(templates, sizeof templates, "%s/meta/x_face_tid_mid.txt", dir);
    snprintf(path, sizeof path, "%s/meta", dir);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/loose_crop", dir);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/loose_crop/1.jpg", dir);
    put(path, "\xff\xd8\xff", 3);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!dir[0]) enter();
    const uint8_t *cut = size ? memchr(data, 1, size) : NULL;
    size_t first = cut ? (size_t)(cut - data) : size;
    put(points, data, first);
    if (cut) put(templates, cut + 1, size - first - 1);
    else unlink(templates);
    struct lafs_err err = {0};
    struct lafs_reader *r;
    const char *path = dir;
    lafs_status st = lafs_reader_open(&r, &path, 1, NULL, &err);
    if (st != LAFS_OK) {
        if (st != LAFS_FAILED || !err.msg[0]) abort();
        return 0;
    }
    struct lafs_sample s;
    lafs_sample_init(&s);
    float xy[10];
    double score;
    while ((st = lafs_reader_next(r, &s, &err)) == LAFS_OK || st == LAFS_BAD_RECORD)
        if (st == LAFS_OK && (lafs_sample_f32(&s, "points", (int64_t[]){5, 2}, 2, xy, 10, &err) != LAFS_OK ||
                              lafs_sample_double(&s, "score", &score, &err) != LAFS_OK ||
                              lafs_sample_has(&s, "template") != (cut != NULL)))
            abort();
    if (st != LAFS_END && st != LAFS_FAILED) abort();
    lafs_sample_release(&s);
    lafs_reader_close(r);
    return 0;
}
