/* PNG files through libpng: the only file that knows it. Its error exits are caught by setjmp inside one call of
 * guarded_*(); what must be released lives in struct reading, outside the frames that longjmp leaves. */
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

#include "base/mem.h"
#include "image/exif.h"

/* Most that a chunk other than the pixels may ask for; a palette and its transparency are smaller. */
enum { MAX_CHUNK = 1 << 20 };

struct reading {
    png_structp png;
    png_infop info;
    jmp_buf out;
    struct lafs_err *err;
    lafs_status status; /* why longjmp was taken */
    int no_memory;
    const unsigned char *data;
    size_t size, at;
    unsigned char *rows; /* one row, or all of an interlaced picture, as libpng gives them; from lafs_alloc */
};

static _Noreturn void leave(struct reading *r, lafs_status status)
{
    r->status = status;
    longjmp(r->out, 1);
}

static _Noreturn void on_error(png_structp png, png_const_charp message)
{
    struct reading *r = png_get_error_ptr(png);
    if (r->no_memory) {
        lafs_fail(r->err, LAFS_FAILED, "out of memory");
        leave(r, LAFS_FAILED);
    }
    lafs_fail(r->err, LAFS_BAD_RECORD, "bad PNG: %s", message);
    leave(r, LAFS_BAD_RECORD);
}

/* What libpng warns of leaves the pixels as they were meant; a wrong checksum is an error, by crc_action. */
static void on_warning(png_structp png, png_const_charp message)
{
    (void)png, (void)message;
}

static png_voidp get_memory(png_structp png, png_alloc_size_t size)
{
    void *p = malloc(size);
    if (!p) ((struct reading *)png_get_mem_ptr(png))->no_memory = 1;
    return p;
}

static void give_memory(png_structp png, png_voidp p)
{
    (void)png;
    free(p);
}

static void on_read(png_structp png, png_bytep to, size_t size)
{
    struct reading *r = png_get_io_ptr(png);
    if (size > r->size - r->at) {
        lafs_fail(r->err, LAFS_BAD_RECORD, "truncated PNG");
        leave(r, LAFS_BAD_RECORD);
    }
    memcpy(to, r->data + r->at, size);
    r->at += size;
}

/* Orientation by the eXIf chunk, which may stand before the pixels or behind them: looked for in the file, since libpng
 * comes upon the latter only after decoding. What is wrong with chunks is for libpng to say. */
static int orientation(const unsigned char *p, size_t size)
{
    for (size_t at = 8; size - at >= 12;) {
        size_t len = (size_t)p[at] << 24 | (size_t)p[at + 1] << 16 | (size_t)p[at + 2] << 8 | p[at + 3];
        if (len > size - at - 12) break;
        if (memcmp(p + at + 4, "eXIf", 4) == 0) return lafs_exif_orientation(p + at + 8, len);
        at += 12 + len;
    }
    return 0;
}

static void read_header(struct reading *r)
{
    png_set_crc_action(r->png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    png_set_user_limits(r->png, PNG_UINT_31_MAX, PNG_UINT_31_MAX); /* max_pixels is stricter, and names both sides */
    png_set_chunk_malloc_max(r->png, MAX_CHUNK);
    png_set_keep_unknown_chunks(r->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1); /* all but IHDR, PLTE, tRNS, IDAT, IEND */
    png_set_read_fn(r->png, r, on_read);
    png_read_info(r->png, r->info);
}

/* Whatever it is, to 8 bits a channel, RGB or RGBA. */
static void set_transforms(struct reading *r)
{
    png_set_expand(r->png); /* palettes (what they do not have is black) and fewer than 8 bits; tRNS becomes alpha */
    png_set_scale_16(r->png);
    png_set_gray_to_rgb(r->png);
}

static void flatten(const unsigned char *in, uint8_t *out, int w)
{
    for (int x = 0; x < w; x++, in += 4, out += 3)
        for (int k = 0; k < 3; k++) out[k] = (uint8_t)((in[k] * in[3] + 127) / 255);
}

static void read_rows(struct reading *r, struct lafs_image *im, int passes, int alpha)
{
    size_t out = (size_t)im->w * 3, in = alpha ? (size_t)im->w * 4 : out;
    for (int pass = 0; pass < passes; pass++)
        for (int y = 0; y < im->h; y++) {
            uint8_t *to = im->px + (size_t)y * out, *row = alpha ? r->rows + (passes > 1 ? (size_t)y * in : 0) : to;
            png_read_row(r->png, row, NULL);
            if (alpha && pass == passes - 1) flatten(row, to, im->w);
        }
}

static lafs_status guarded_decode(struct reading *r, struct lafs_image *im, int64_t max_pixels)
{
    if (setjmp(r->out)) return r->status;
    read_header(r);
    png_uint_32 w = png_get_image_width(r->png, r->info), h = png_get_image_height(r->png, r->info);
    if ((int64_t)w * h > max_pixels)
        return lafs_fail(r->err, LAFS_BAD_RECORD, "picture of %u x %u is more than %lld pixels", w, h,
                         (long long)max_pixels);
    set_transforms(r);
    int passes = png_set_interlace_handling(r->png);
    LAFS_TRY(lafs_image_new(im, (int)w, (int)h, r->err));
    png_read_update_info(r->png, r->info);
    int alpha = png_get_channels(r->png, r->info) == 4;
    if (png_get_rowbytes(r->png, r->info) != (size_t)w * (alpha ? 4 : 3))
        return lafs_fail(r->err, LAFS_BAD_RECORD, "bad PNG: rows of %zu bytes for %u pixels",
                         png_get_rowbytes(r->png, r->info), w);
    if (alpha) LAFS_TRY(lafs_alloc(&r->rows, (size_t)w * 4, passes > 1 ? h : 1, r->err));
    read_rows(r, im, passes, alpha);
    png_read_end(r->png, NULL);
    return LAFS_OK;
}

static lafs_status begin(struct reading *r, const void *data, size_t size, struct lafs_err *err)
{
    *r = (struct reading){.err = err, .data = data, .size = size};
    if (size < 8 || memcmp(data, "\x89PNG\r\n\x1a\n", 8))
        return lafs_fail(err, LAFS_BAD_RECORD, "not a PNG%s", size ? "" : ": empty");
    if (size >= 16 && memcmp(r->data + 12, "IHDR", 4))
        return lafs_fail(err, LAFS_BAD_RECORD, "bad PNG: it does not begin with its header");
    r->png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, r, on_error, on_warning, r, get_memory, give_memory);
    if (r->png) r->info = png_create_info_struct(r->png);
    if (!r->info) return lafs_fail(err, LAFS_FAILED, "out of memory");
    return LAFS_OK;
}

static void end(struct reading *r)
{
    if (r->png) png_destroy_read_struct(&r->png, r->info ? &r->info : NULL, NULL);
    lafs_free(r->rows);
}

lafs_status lafs_png_decode(struct lafs_image *im, const void *data, size_t size, int64_t max_pixels,
                            struct lafs_err *err)
{
    struct reading r;
    if (max_pixels <= 0) max_pixels = LAFS_MAX_PIXELS_DEFAULT;
    lafs_status st = begin(&r, data, size, err);
    if (st == LAFS_OK) st = guarded_decode(&r, im, max_pixels);
    end(&r);
    if (st == LAFS_OK) st = lafs_image_orient(im, orientation(data, size), err);
    if (st != LAFS_OK) lafs_image_release(im);
    return st;
}

static lafs_status guarded_size(struct reading *r, int *w, int *h)
{
    if (setjmp(r->out)) return r->status;
    read_header(r);
    *w = (int)png_get_image_width(r->png, r->info);
    *h = (int)png_get_image_height(r->png, r->info);
    return LAFS_OK;
}

lafs_status lafs_png_size(const void *data, size_t size, int *w, int *h, struct lafs_err *err)
{
    struct reading r;
    *w = *h = 0;
    lafs_status st = begin(&r, data, size, err);
    if (st == LAFS_OK) st = guarded_size(&r, w, h);
    end(&r);
    if (st == LAFS_OK && orientation(data, size) >= 5) {
        int swap = *w;
        *w = *h;
        *h = swap;
    }
    return st;
}
