#include "format/verifyset.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/pickletext.h"

/* NumPy 2 has renamed its modules; numeric._frombuffer is protocol 5's way. */
static const char *const allow[] = {"numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct",
                                    "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar",
                                    "numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer",
                                    "numpy.ndarray", "numpy.dtype", NULL};

/* An image takes ten instructions or fewer, an answer eight: so many images of some hundred bytes always fit. */
static size_t max_steps(size_t size) { return ((size_t)1 << 20) + size / 32; }

typedef struct lafs_pickle_value value;

/* Item i of a tuple or list; NULL where there is none. */
static const value *item(const value *v, size_t i)
{
    int has = v && (v->type == LAFS_PICKLE_TUPLE || v->type == LAFS_PICKLE_LIST);
    return has && i < v->count ? v->item[i] : NULL;
}

static int calls(const value *v, const char *old, const char *now)
{
    return v && v->type == LAFS_PICKLE_CALL && (lafs_pickle_names(v, old) || lafs_pickle_names(v, now));
}

/* An array of single bytes ("u1", "b1"): its elements, in order; of a scalar its one. */
static int array_bytes(const value *v, const char *type, struct lafs_span *span)
{
    const value *dtype, *shape = NULL, *data;
    if (calls(v, "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")) {
        shape = item(v->call->state, 1); /* (version, shape, dtype, is it Fortran's, data) */
        dtype = item(v->call->state, 2);
        data = item(v->call->state, 4);
        if (!shape) return 0;
    } else if (calls(v, "numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer")) {
        data = item(v->call->args, 0);
        dtype = item(v->call->args, 1);
        shape = item(v->call->args, 2);
        if (!shape) return 0;
    } else if (calls(v, "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")) {
        dtype = item(v->call->args, 0);
        data = item(v->call->args, 1);
    } else {
        return 0;
    }
    if (!calls(dtype, "numpy.dtype", "numpy.dtype") || !data || data->type != LAFS_PICKLE_BYTES) return 0;
    const value *name = item(dtype->call->args, 0);
    if (!lafs_pickle_is_text(name) || name->size < 2 || memcmp(name->data + name->size - 2, type, 2)) return 0;
    size_t count = 1;
    for (size_t i = 0; shape && i < shape->count; i++) {
        const value *n = item(shape, i);
        if (!n || n->type != LAFS_PICKLE_INT || n->i < 0 || !lafs_mul_ok(count, (size_t)n->i, &count)) return 0;
    }
    *span = (struct lafs_span){data->data, data->size};
    return (!shape || shape->type == LAFS_PICKLE_TUPLE) && count == data->size;
}

static int image_bytes(const value *v, struct lafs_span *span)
{
    if (v->type != LAFS_PICKLE_BYTES) return array_bytes(v, "u1", span);
    *span = (struct lafs_span){v->data, v->size};
    return 1;
}

static lafs_status unexpected(const char *where, const value *v, struct lafs_err *err)
{
    char kind[LAFS_PICKLE_KIND];
    return lafs_fail(err, LAFS_FAILED, "no verification set: %s is %s", where, lafs_pickle_kind(v, kind));
}

/* An image that was written as text: its bytes are the characters' numbers. */
struct text_image {
    const value *text;
    size_t image;
};

static int by_text(const void *a, const void *b)
{
    const struct text_image *x = a, *y = b;
    if (x->text != y->text) return (uintptr_t)x->text < (uintptr_t)y->text ? -1 : 1;
    return (x->image > y->image) - (x->image < y->image);
}

/* Each text once, however often it stands in the set: so all of them are no longer than the pickle. */
static lafs_status decode_texts(struct lafs_verifyset *set, struct text_image *t, size_t count, struct lafs_err *err)
{
    size_t room = 0;
    qsort(t, count, sizeof *t, by_text);
    for (size_t i = 0; i < count; i++)
        if ((i == 0 || t[i].text != t[i - 1].text) && !lafs_add_ok(room, t[i].text->size, &room))
            return lafs_fail(err, LAFS_FAILED, "out of memory");
    lafs_buf_reserve(&set->text, room);
    LAFS_TRY(lafs_buf_check(&set->text, err));
    for (size_t i = 0; i < count; i++) {
        char *to = (char *)set->text.data + set->text.size;
        if (i > 0 && t[i].text == t[i - 1].text) {
            set->image[t[i].image] = set->image[t[i - 1].image];
            continue;
        }
        ptrdiff_t n = lafs_pickle_decode_latin1(t[i].text->data, t[i].text->size, to);
        if (n < 0) return unexpected("one of its images", t[i].text, err);
        set->text.size += (size_t)n;
        set->image[t[i].image] = (struct lafs_span){to, (size_t)n};
    }
    return LAFS_OK;
}

static lafs_status take_images(struct lafs_verifyset *set, const value *images, struct lafs_err *err)
{
    struct text_image *text;
    size_t texts = 0;
    lafs_status st = LAFS_OK;
    LAFS_TRY(lafs_alloc(&text, images->count, sizeof *text, err));
    for (size_t i = 0; i < images->count && st == LAFS_OK; i++) {
        const value *v = images->item[i];
        if (v->type == LAFS_PICKLE_STR) text[texts++] = (struct text_image){v, i};
        else if (!image_bytes(v, &set->image[i])) st = unexpected("one of its images", v, err);
    }
    if (st == LAFS_OK && texts) st = decode_texts(set, text, texts, err);
    lafs_free(text);
    return st;
}

static lafs_status take_same(struct lafs_verifyset *set, const value *list, struct lafs_err *err)
{
    struct lafs_span span;
    if (array_bytes(list, "b1", &span)) {
        for (int64_t i = 0; i < set->pairs; i++) set->same[i] = ((const unsigned char *)span.data)[i] != 0;
        return LAFS_OK;
    }
    for (int64_t i = 0; i < set->pairs; i++) {
        const value *v = list->item[i];
        if (v->type == LAFS_PICKLE_BOOL || (v->type == LAFS_PICKLE_INT && (v->i == 0 || v->i == 1)))
            set->same[i] = (uint8_t)v->i;
        else if (array_bytes(v, "b1", &span) && span.size == 1)
            set->same[i] = *(const unsigned char *)span.data != 0;
        else return unexpected("one of its answers", v, err);
    }
    return LAFS_OK;
}

static int is_sequence(const value *v) { return v && (v->type == LAFS_PICKLE_LIST || v->type == LAFS_PICKLE_TUPLE); }

static lafs_status take_all(struct lafs_verifyset *set, struct lafs_err *err)
{
    const value *root = set->pickle->root, *images = item(root, 0), *same = item(root, 1);
    struct lafs_span span;
    if (!is_sequence(root) || root->count != 2) return unexpected("it", root, err);
    if (!is_sequence(images)) return unexpected("what should be its images", images, err);
    int is_array = array_bytes(same, "b1", &span);
    if (!is_sequence(same) && !is_array) return unexpected("what should be its answers", same, err);
    size_t pairs = is_array ? span.size : same->count;
    if (images->count % 2 || images->count / 2 != pairs)
        return lafs_fail(err, LAFS_FAILED, "no verification set: %zu images and %zu answers", images->count, pairs);
    if (pairs == 0) return lafs_fail(err, LAFS_FAILED, "a verification set without pairs");
    set->pairs = (int64_t)pairs;
    LAFS_TRY(lafs_alloc(&set->image, images->count, sizeof *set->image, err));
    LAFS_TRY(lafs_alloc(&set->same, pairs, 1, err));
    LAFS_TRY(take_images(set, images, err));
    return take_same(set, same, err);
}

lafs_status lafs_verifyset_parse(struct lafs_verifyset *v, const void *data, size_t size, struct lafs_err *err)
{
    struct lafs_pickle_options opt = {.allow = allow, .max_steps = max_steps(size)};
    *v = (struct lafs_verifyset){0};
    lafs_status st = lafs_pickle_parse(&v->pickle, data, size, &opt, err);
    if (st == LAFS_OK) st = take_all(v, err);
    if (st != LAFS_OK) lafs_verifyset_release(v);
    return st;
}

void lafs_verifyset_release(struct lafs_verifyset *v)
{
    lafs_pickle_free(v->pickle);
    lafs_free(v->image);
    lafs_free(v->same);
    lafs_buf_release(&v->text);
    *v = (struct lafs_verifyset){0};
}

/* ---- writing ---- */

static void put_count(struct lafs_buf *out, size_t n)
{
    for (int i = 0; i < 4; i++) lafs_buf_putc(out, (int)(n >> 8 * i & 0xff));
}

/* PROTO 2; _codecs.encode and 'latin1' into the memo (and off the stack again); the list of images. */
void lafs_verifyset_begin(struct lafs_buf *out)
{
    static const char head[] = "\x80\x02" "c_codecs\nencode\nq\0" "0X\x06\0\0\0latin1q\x01" "0]";
    lafs_buf_put(out, head, sizeof head - 1);
}

/* _codecs.encode(text, 'latin1'), appended to the list. */
void lafs_verifyset_put(struct lafs_buf *out, const void *data, size_t size)
{
    const unsigned char *p = data;
    size_t more = 0;
    for (size_t i = 0; i < size; i++) more += p[i] >> 7;
    lafs_buf_reserve(out, size + more + 16);
    lafs_buf_put(out, "h\0X", 3);
    put_count(out, size + more);
    if (out->failed) return;
    unsigned char *to = out->data + out->size;
    for (size_t i = 0; i < size; i++) {
        if (p[i] >= 0x80) *to++ = (unsigned char)(0xc0 | p[i] >> 6);
        *to++ = p[i] >= 0x80 ? (unsigned char)(0x80 | (p[i] & 0x3f)) : p[i];
    }
    out->size += size + more;
    lafs_buf_put(out, "h\x01\x86Ra", 5);
}

void lafs_verifyset_end(struct lafs_buf *out, const uint8_t *same, int64_t pairs)
{
    lafs_buf_puts(out, "](");
    for (int64_t i = 0; i < pairs; i++) lafs_buf_putc(out, same[i] ? 0x88 : 0x89);
    lafs_buf_puts(out, "e\x86.");
}
