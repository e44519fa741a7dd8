#include "data/face.h"

#include <string.h>

static const char *const picture[] = {"rgb", "jpg", "png"}, *const *const encoded = picture + 1;
enum { PICTURES = sizeof picture / sizeof *picture };

lafs_status lafs_face_bytes(const struct lafs_sample *s, const void **data, size_t *size, struct lafs_err *err)
{
    lafs_status st = lafs_sample_bin(s, encoded[0], data, size, err);
    return st == LAFS_END ? lafs_sample_bin(s, encoded[1], data, size, err) : st;
}

/* Field `rgb`, checked. LAFS_END when it is absent. */
static lafs_status raw_pixels(const struct lafs_sample *s, struct lafs_nd *a, struct lafs_err *err)
{
    LAFS_TRY(lafs_sample_nd(s, "rgb", a, err));
    if (strcmp(a->type, "|u1") || a->ndim != 3 || a->shape[2] != 3 || a->shape[0] < 1 || a->shape[1] < 1 ||
        a->shape[0] > 65500 || a->shape[1] > 65500)
        return lafs_fail(err, LAFS_BAD_RECORD, "field 'rgb': not a u8 array (h, w, 3)");
    return LAFS_OK;
}

static lafs_status no_picture(struct lafs_err *err)
{
    return lafs_fail(err, LAFS_BAD_RECORD, "no picture: no field 'jpg', 'png' or 'rgb'");
}

static lafs_status decode(const struct lafs_sample *s, int64_t max_pixels, struct lafs_image *im, struct lafs_err *err)
{
    if (max_pixels <= 0) max_pixels = LAFS_MAX_PIXELS_DEFAULT;
    struct lafs_nd a;
    lafs_status st = raw_pixels(s, &a, err);
    if (st == LAFS_OK) {
        if (a.shape[0] * a.shape[1] > max_pixels)
            return lafs_fail(err, LAFS_BAD_RECORD, "field 'rgb': %lld x %lld is more than %lld pixels",
                             (long long)a.shape[1], (long long)a.shape[0], (long long)max_pixels);
        LAFS_TRY(lafs_image_new(im, (int)a.shape[1], (int)a.shape[0], err));
        memcpy(im->px, a.data, a.count);
        return LAFS_OK;
    }
    if (st != LAFS_END) return st;
    const void *data;
    size_t size;
    st = lafs_face_bytes(s, &data, &size, err);
    if (st == LAFS_END) return no_picture(err);
    LAFS_TRY(st);
    return lafs_photo_decode(im, data, size, max_pixels, err);
}

lafs_status lafs_face_size(const struct lafs_sample *s, int *w, int *h, struct lafs_err *err)
{
    struct lafs_nd a;
    const void *data;
    size_t size;
    lafs_status st = raw_pixels(s, &a, err);
    if (st == LAFS_OK) {
        *h = (int)a.shape[0];
        *w = (int)a.shape[1];
        return LAFS_OK;
    }
    if (st == LAFS_END) st = lafs_face_bytes(s, &data, &size, err);
    if (st == LAFS_END) return no_picture(err);
    LAFS_TRY(st);
    return lafs_photo_size(data, size, w, h, err);
}

int lafs_face_has(const struct lafs_sample *s)
{
    for (int i = 0; i < PICTURES; i++)
        if (lafs_sample_has(s, picture[i])) return 1;
    return 0;
}

void lafs_face_del(struct lafs_sample *s)
{
    lafs_sample_del(s, "swapped");
    for (int i = 0; i < PICTURES; i++) lafs_sample_del(s, picture[i]);
}

void lafs_face_hollow(struct lafs_sample *s)
{
    for (int i = 0; i < PICTURES; i++)
        if (lafs_sample_has(s, picture[i])) lafs_sample_set_bin(s, picture[i], "", 0);
}

void lafs_face_fill(struct lafs_sample *s, const struct lafs_sample *from)
{
    const void *data;
    size_t size;
    for (int i = 0; i < PICTURES; i++)
        if (lafs_sample_raw(from, picture[i], &data, &size) == LAFS_OK) lafs_sample_set_raw(s, picture[i], data, size);
}

void lafs_face_set(struct lafs_sample *s, const void *data, size_t size)
{
    int png = lafs_photo_kind(data, size) == LAFS_PHOTO_PNG;
    lafs_sample_del(s, "rgb");
    lafs_sample_del(s, "swapped");
    lafs_sample_del(s, encoded[!png]);
    lafs_sample_set_bin(s, encoded[png], data, size);
}

int lafs_face_swapped(const struct lafs_sample *s)
{
    const void *p;
    size_t n;
    return lafs_sample_raw(s, "swapped", &p, &n) == LAFS_OK && n == 1 && *(const unsigned char *)p == 0xc3;
}

lafs_status lafs_face_image(const struct lafs_sample *s, int64_t max_pixels, struct lafs_image *im,
                            struct lafs_err *err)
{
    LAFS_TRY(decode(s, max_pixels, im, err));
    if (!lafs_face_swapped(s)) return LAFS_OK;
    size_t n = (size_t)im->w * (size_t)im->h * 3;
    for (size_t i = 0; i < n; i += 3) {
        uint8_t red = im->px[i + 2];
        im->px[i + 2] = im->px[i];
        im->px[i] = red;
    }
    return LAFS_OK;
}

size_t lafs_face_stem(const char *key)
{
    size_t n = strlen(key), end = n;
    while (n > 0 && key[n - 1] >= '0' && key[n - 1] <= '9') n--;
    return n < end && n > 2 && key[n - 1] == 'f' && key[n - 2] == '-' ? n - 2 : end;
}
