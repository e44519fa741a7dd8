/* JPEG files through libjpeg-turbo: the only file that knows it. Its error exits are caught by setjmp inside one call
 * of guarded(); nothing that must be released lives in the frames that longjmp leaves. */
#include <ctype.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

#include "image/exif.h"

/* Progressive files of cameras and optimisers have 6 to 20 scans; every further one costs a pass over the whole picture
 * for a few bytes of file. */
enum { MAX_SCANS = 64 };

struct codec {
    struct jpeg_error_mgr mgr;
    struct jpeg_progress_mgr progress;
    jmp_buf out;
    struct lafs_err *err;
    lafs_status status; /* why longjmp was taken */
};

static _Noreturn void leave(struct codec *k, lafs_status status)
{
    k->status = status;
    longjmp(k->out, 1);
}

static void library_message(j_common_ptr c, const char *what)
{
    struct codec *k = c->client_data;
    char text[JMSG_LENGTH_MAX];
    c->err->format_message(c, text);
    text[0] = (char)tolower((unsigned char)text[0]);
    lafs_fail(k->err, LAFS_BAD_RECORD, "%s: %s", what, text);
}

static void on_error(j_common_ptr c)
{
    struct codec *k = c->client_data;
    if (c->err->msg_code == JERR_OUT_OF_MEMORY) {
        lafs_fail(k->err, LAFS_FAILED, "out of memory");
        leave(k, LAFS_FAILED);
    }
    library_message(c, c->err->msg_code == JERR_NO_SOI ? "not a JPEG" : "bad JPEG");
    leave(k, LAFS_BAD_RECORD);
}

/* Warnings that leave the pixels as they were meant; all others mean that data is corrupt or missing. */
static int harmless(int code)
{
    return code == JWRN_EXTRANEOUS_DATA || code == JWRN_ADOBE_XFORM || code == JWRN_JFIF_MAJOR ||
           code == JWRN_NOT_SEQUENTIAL || code == JWRN_BOGUS_ICC;
}

static void on_message(j_common_ptr c, int level)
{
    if (level >= 0 || harmless(c->err->msg_code)) return;
    int cut = c->err->msg_code == JWRN_JPEG_EOF || c->err->msg_code == JWRN_HIT_MARKER;
    library_message(c, cut ? "truncated JPEG" : "corrupt JPEG");
    leave(c->client_data, LAFS_BAD_RECORD);
}

static void on_output(j_common_ptr c) { (void)c; }

static void on_progress(j_common_ptr c)
{
    struct codec *k = c->client_data;
    if (!c->is_decompressor || ((j_decompress_ptr)c)->input_scan_number <= MAX_SCANS) return;
    lafs_fail(k->err, LAFS_BAD_RECORD, "bad JPEG: more than %d scans", MAX_SCANS);
    leave(k, LAFS_BAD_RECORD);
}

static struct jpeg_error_mgr *codec_init(struct codec *k, struct lafs_err *err)
{
    memset(k, 0, sizeof *k);
    jpeg_std_error(&k->mgr);
    k->mgr.error_exit = on_error;
    k->mgr.emit_message = on_message;
    k->mgr.output_message = on_output;
    k->progress.progress_monitor = on_progress;
    k->err = err;
    return &k->mgr;
}

/* -- EXIF -- */

static int orientation(const struct jpeg_decompress_struct *c)
{
    for (const struct jpeg_marker_struct *m = c->marker_list; m; m = m->next) {
        if (m->data_length < 6 || memcmp(m->data, "Exif\0", 5)) continue;
        int v = lafs_exif_orientation(m->data + 6, m->data_length - 6);
        if (v) return v;
    }
    return 1;
}

/* -- reading -- */

/* CMYK, 0 = no ink, or inverted as Adobe's programs write it, to RGB. */
static void cmyk_row(const uint8_t *in, uint8_t *out, int w, int inverted)
{
    for (int x = 0; x < w; x++, in += 4, out += 3)
        for (int i = 0; i < 3; i++) {
            int paper = inverted ? in[i] : 255 - in[i], light = inverted ? in[3] : 255 - in[3];
            out[i] = (uint8_t)((paper * light + 127) / 255);
        }
}

static void read_header(struct jpeg_decompress_struct *c, const void *data, size_t size)
{
    jpeg_save_markers(c, JPEG_APP0 + 1, 0xFFFF);
    jpeg_mem_src(c, data, size);
    jpeg_read_header(c, TRUE);
}

struct reading {
    struct jpeg_decompress_struct c;
    struct codec k;
    int created, turn;
};

static void read_rows(struct reading *r, struct lafs_image *im)
{
    struct jpeg_decompress_struct *c = &r->c;
    int cmyk = c->out_color_space == JCS_CMYK;
    JSAMPARRAY row = NULL;
    if (cmyk) row = c->mem->alloc_sarray((j_common_ptr)c, JPOOL_IMAGE, c->output_width * 4, 1);
    while (c->output_scanline < c->output_height) {
        uint8_t *to = im->px + (size_t)c->output_scanline * (size_t)im->w * 3;
        JSAMPROW at = to;
        if (jpeg_read_scanlines(c, cmyk ? row : &at, 1) != 1) continue;
        if (cmyk) cmyk_row(row[0], to, im->w, c->saw_Adobe_marker);
    }
    jpeg_finish_decompress(c);
}

static lafs_status guarded_decode(struct reading *r, struct lafs_image *im, const void *data, size_t size,
                                  int64_t max_pixels, struct lafs_err *err)
{
    struct jpeg_decompress_struct *c = &r->c;
    if (setjmp(r->k.out)) return r->k.status;
    c->client_data = &r->k;
    jpeg_create_decompress(c);
    r->created = 1;
    c->progress = &r->k.progress;
    read_header(c, data, size);
    if ((int64_t)c->image_width * c->image_height > max_pixels)
        return lafs_fail(err, LAFS_BAD_RECORD, "picture of %u x %u is more than %lld pixels", c->image_width,
                         c->image_height, (long long)max_pixels);
    if (c->num_components == 2 || c->num_components > 4)
        return lafs_fail(err, LAFS_BAD_RECORD, "bad JPEG: %d colour components", c->num_components);
    c->out_color_space = c->num_components == 4 ? JCS_CMYK : JCS_RGB;
    c->dct_method = JDCT_ISLOW; /* the same bits with and without SIMD */
    r->turn = orientation(c);
    jpeg_start_decompress(c);
    LAFS_TRY(lafs_image_new(im, (int)c->output_width, (int)c->output_height, err));
    read_rows(r, im);
    return LAFS_OK;
}

lafs_status lafs_jpeg_decode(struct lafs_image *im, const void *data, size_t size, int64_t max_pixels,
                             struct lafs_err *err)
{
    struct reading r;
    memset(&r, 0, sizeof r);
    if (max_pixels <= 0) max_pixels = LAFS_MAX_PIXELS_DEFAULT;
    if (size == 0) return lafs_fail(err, LAFS_BAD_RECORD, "not a JPEG: empty");
    r.c.err = codec_init(&r.k, err);
    lafs_status st = guarded_decode(&r, im, data, size, max_pixels, err);
    if (r.created) jpeg_destroy_decompress(&r.c);
    if (st == LAFS_OK) st = lafs_image_orient(im, r.turn, err);
    if (st != LAFS_OK) lafs_image_release(im);
    return st;
}

static lafs_status guarded_size(struct reading *r, const void *data, size_t size)
{
    if (setjmp(r->k.out)) return r->k.status;
    r->c.client_data = &r->k;
    jpeg_create_decompress(&r->c);
    r->created = 1;
    read_header(&r->c, data, size);
    r->turn = orientation(&r->c);
    return LAFS_OK;
}

lafs_status lafs_jpeg_size(const void *data, size_t size, int *w, int *h, struct lafs_err *err)
{
    struct reading r;
    memset(&r, 0, sizeof r);
    *w = *h = 0;
    if (size == 0) return lafs_fail(err, LAFS_BAD_RECORD, "not a JPEG: empty");
    r.c.err = codec_init(&r.k, err);
    lafs_status st = guarded_size(&r, data, size);
    if (st == LAFS_OK) {
        int swap = r.turn >= 5;
        *w = (int)(swap ? r.c.image_height : r.c.image_width);
        *h = (int)(swap ? r.c.image_width : r.c.image_height);
    }
    if (r.created) jpeg_destroy_decompress(&r.c);
    return st;
}

/* -- writing -- */

struct writing {
    struct jpeg_compress_struct c;
    struct codec k;
    unsigned char *data; /* from malloc, by the library */
    unsigned long size;
    int created;
};

static lafs_status guarded_encode(struct writing *w, const struct lafs_image *im, int quality)
{
    struct jpeg_compress_struct *c = &w->c;
    if (setjmp(w->k.out)) return w->k.status;
    c->client_data = &w->k;
    jpeg_create_compress(c);
    w->created = 1;
    jpeg_mem_dest(c, &w->data, &w->size);
    c->image_width = (JDIMENSION)im->w;
    c->image_height = (JDIMENSION)im->h;
    c->input_components = 3;
    c->in_color_space = JCS_RGB;
    jpeg_set_defaults(c);
    jpeg_set_quality(c, quality, TRUE);
    c->dct_method = JDCT_ISLOW;
    int sub = quality >= 90 ? 1 : 2;
    c->comp_info[0].h_samp_factor = c->comp_info[0].v_samp_factor = sub;
    jpeg_start_compress(c, TRUE);
    while (c->next_scanline < c->image_height) {
        JSAMPROW row = im->px + (size_t)c->next_scanline * (size_t)im->w * 3;
        jpeg_write_scanlines(c, &row, 1);
    }
    jpeg_finish_compress(c);
    return LAFS_OK;
}

lafs_status lafs_jpeg_encode(struct lafs_buf *out, const struct lafs_image *im, int quality, struct lafs_err *err)
{
    struct writing w;
    memset(&w, 0, sizeof w);
    if (im->w < 1 || im->h < 1 || quality < 1 || quality > 100)
        return lafs_fail(err, LAFS_USAGE, "cannot write a JPEG of %d x %d at quality %d", im->w, im->h, quality);
    w.c.err = codec_init(&w.k, err);
    lafs_status st = guarded_encode(&w, im, quality);
    if (w.created) jpeg_destroy_compress(&w.c);
    if (st == LAFS_OK) {
        lafs_buf_put(out, w.data, w.size);
        st = lafs_buf_check(out, err);
    } else if (st == LAFS_BAD_RECORD) {
        st = LAFS_FAILED; /* nothing of the caller's is to blame */
        if (err) err->status = st;
    }
    free(w.data);
    return st;
}
