/* Any bytes as a record, a header and a trailer: what is understood keeps its bytes when it is written and read again,
 * and measuring gives the same however small the pieces that arrive. */
#include <stdlib.h>
#include <string.h>

#include "data/source.h"
#include "data/walk.h"
#include "tests/fuzz/fuzz.h"

static int equal(const struct lafs_buf *a, const struct lafs_buf *b)
{
    return a->size == b->size && (a->size == 0 || memcmp(a->data, b->data, a->size) == 0);
}

/* In pieces of growing, odd sizes. */
static void measure(const uint8_t *data, size_t size)
{
    size_t whole = 0, len = 0, have = 0;
    struct lafs_measure m;
    lafs_status want = lafs_walk_measure(data, size, &whole, NULL), st = LAFS_END;
    lafs_measure_init(&m);
    for (size_t step = 1; have < size && st == LAFS_END; step += 2) {
        have = size - have < step ? size : have + step;
        uint8_t *piece = malloc(have); /* of exactly its size, so that a sanitizer sees an overrun */
        must(piece != NULL);
        memcpy(piece, data, have);
        st = lafs_measure_more(&m, piece, have, &len, NULL);
        free(piece);
        if (st == LAFS_END) must(len > have);
    }
    if (size == 0) return;
    must(st == want);
    if (st == LAFS_OK) must(len == whole && whole <= size);
}

static void get_all(struct lafs_sample *s, const char *name)
{
    const char *str;
    const void *p;
    size_t n;
    int64_t i, shape[LAFS_MAX_NDIM];
    double f;
    float out[64];
    struct lafs_nd a;
    struct lafs_err err;
    volatile unsigned char sink = 0;
    if (lafs_sample_str(s, name, &str, &n, &err) == LAFS_OK)
        for (size_t k = 0; k < n; k++) sink ^= (unsigned char)str[k];
    if (lafs_sample_bin(s, name, &p, &n, &err) == LAFS_OK)
        for (size_t k = 0; k < n; k++) sink ^= ((const unsigned char *)p)[k];
    if (lafs_sample_int(s, name, &i, &err) == LAFS_OK) must(lafs_sample_double(s, name, &f, &err) == LAFS_OK);
    if (lafs_map_find(s->buf.data, s->buf.size, name, &p, &n, &err) == LAFS_OK) must(n > 0);
    if (lafs_sample_nd(s, name, &a, &err) != LAFS_OK) return;
    for (size_t k = 0; k < a.count * a.item; k++) sink ^= ((const unsigned char *)a.data)[k];
    (void)sink;
    for (int k = 0; k < a.ndim; k++) shape[k] = -1;
    if (lafs_sample_f32(s, name, shape, a.ndim, out, sizeof out / sizeof *out, &err) == LAFS_OK) {
        must(memcmp(shape, a.shape, (size_t)a.ndim * sizeof *shape) == 0);
        if (strcmp(a.type, "<f4") == 0) lafs_sample_set_f32(s, name, shape, a.ndim, out);
        must(lafs_sample_nd(s, name, &a, &err) == LAFS_OK);
    }
}

static void record(const uint8_t *data, size_t size)
{
    struct lafs_sample s, t;
    struct lafs_buf a, b;
    struct lafs_err err = {0};
    lafs_sample_init(&s);
    lafs_sample_init(&t);
    lafs_buf_init(&a);
    lafs_buf_init(&b);
    lafs_status st = lafs_sample_decode(&s, data, size, &err);
    must(st == LAFS_OK || (st == LAFS_BAD_RECORD && err.msg[0]));
    must(strlen(lafs_sample_key(&s)) <= size);
    if (st == LAFS_OK) {
        lafs_sample_encode(&s, &a);
        must(lafs_sample_decode(&t, a.data, a.size, &err) == LAFS_OK);
        lafs_sample_encode(&t, &b);
        must(equal(&a, &b) && lafs_sample_copy(&t, &s, &err) == LAFS_OK);
        lafs_buf_clear(&b);
        lafs_sample_encode(&t, &b);
        must(equal(&a, &b));
        for (int i = 0; i < t.count; i++) {
            char name[LAFS_MAX_FIELD_NAME + 1];
            memcpy(name, s.buf.data + s.field[i].name, s.field[i].name_len);
            name[s.field[i].name_len] = 0;
            must(lafs_sample_has(&t, name));
            get_all(&t, name);
            if (i & 1) lafs_sample_set_str(&t, name, "other");
        }
        if (lafs_sample_check_key(&s, &err) == LAFS_OK) must(lafs_key_valid(lafs_sample_key(&s), NULL) == LAFS_OK);
        lafs_sample_del(&t, "key");
        must(lafs_sample_check(&t, &err) == LAFS_OK && *lafs_sample_key(&t) == 0);
    }
    lafs_sample_release(&s);
    lafs_sample_release(&t);
    lafs_buf_release(&a);
    lafs_buf_release(&b);
}

static void header(const uint8_t *data, size_t size)
{
    struct lafs_header h, again;
    struct lafs_trailer t, u;
    struct lafs_buf a, b;
    struct lafs_err err = {0};
    lafs_header_init(&h);
    lafs_header_init(&again);
    lafs_buf_init(&a);
    lafs_buf_init(&b);
    lafs_status st = lafs_header_decode(&h, data, size, &err);
    must(st == LAFS_OK || (st == LAFS_FAILED && err.msg[0]));
    if (st == LAFS_OK) {
        int links = h.prov_count;
        must(lafs_header_add_prov(&h, "fuzz", "0", NULL, NULL, 0, &err) == LAFS_OK || size > LAFS_MAX_HEADER / 4);
        lafs_header_encode(&h, &a);
        must(lafs_header_decode(&again, a.data, a.size, &err) == LAFS_OK);
        lafs_header_encode(&again, &b);
        must(equal(&a, &b) && (h.prov_count == links + 1) && again.prov_count == h.prov_count);
    }
    st = lafs_trailer_decode(&t, data, size, &err);
    must(st == LAFS_OK || st == LAFS_FAILED);
    if (st == LAFS_OK) {
        lafs_buf_clear(&a);
        lafs_trailer_encode(&t, &a);
        must(lafs_trailer_decode(&u, a.data, a.size, &err) == LAFS_OK);
        must(t.totals.count == u.totals.count && t.totals.ok == u.totals.ok && strcmp(t.sha256, u.sha256) == 0);
    }
    lafs_header_release(&h);
    lafs_header_release(&again);
    lafs_buf_release(&a);
    lafs_buf_release(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    measure(data, size);
    record(data, size);
    header(data, size);
    return 0;
}
