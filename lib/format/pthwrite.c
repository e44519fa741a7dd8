/* Writing checkpoints: the other half of pth.h. A zip whose members are stored, each aligned to 64 bytes as PyTorch
 * does it, so that it can map them:
 *
 *   archive/data.pkl     protocol 2: OrderedDict of _rebuild_tensor_v2(('storage', torch.FloatStorage, "0", "cpu", n),
 *                        0, shape, strides, False, OrderedDict())
 *   archive/byteorder, archive/data/0 .., archive/extra/lafs-metadata.json, archive/version */
#include <stdio.h>
#include <string.h>

#include "base/atomicfile.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "format/pth.h"

enum { ALIGN = 64, LOCAL = 30, STORED = 0, VERSION = 20, VERSION64 = 45, PADDING = 0x4246, ZIP64 = 1 };
enum { DATE = 1 << 5 | 1 }; /* 1 January 1980 */
#define ROOT "archive/"

/* -- zip -- */

struct member {
    char name[64];
    const void *data;
    uint64_t size, at;
    uint32_t crc;
};
struct zip {
    struct lafs_atomic f;
    uint64_t at;
    uint32_t table[8][256]; /* [k][b]: what byte b does to a CRC-32 with k bytes behind it */
    struct lafs_buf directory, head;
    uint64_t members;
};

static void put(struct lafs_buf *b, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++) lafs_buf_putc(b, (int)(v >> 8 * i & 255));
}

static void fill_table(uint32_t table[8][256])
{
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t t = b;
        for (int k = 0; k < 8; k++) t = t & 1 ? 0xedb88320u ^ t >> 1 : t >> 1;
        table[0][b] = t;
    }
    for (int k = 1; k < 8; k++)
        for (int b = 0; b < 256; b++) table[k][b] = table[0][table[k - 1][b] & 255] ^ table[k - 1][b] >> 8;
}

/* Eight bytes at a time: models are large. */
static uint32_t crc32_of(const struct zip *z, const unsigned char *p, uint64_t n)
{
    uint32_t c = ~0u;
    for (; n >= 8; n -= 8, p += 8) {
        uint32_t sum = 0;
        for (int i = 0; i < 8; i++) sum ^= z->table[7 - i][p[i] ^ (i < 4 ? c >> 8 * i & 255 : 0)];
        c = sum;
    }
    for (; n > 0; n--, p++) c = z->table[0][(c ^ *p) & 255] ^ c >> 8;
    return ~c;
}

static uint32_t clamp32(uint64_t v) { return v < 0xffffffffu ? (uint32_t)v : 0xffffffffu; }

/* What local header and directory share. */
static void put_common(struct lafs_buf *b, const struct member *m, int large, size_t extra)
{
    put(b, large ? VERSION64 : VERSION, 2);
    put(b, 0, 2);
    put(b, STORED, 2);
    put(b, 0, 2);
    put(b, DATE, 2);
    put(b, m->crc, 4);
    put(b, clamp32(m->size), 4);
    put(b, clamp32(m->size), 4);
    put(b, strlen(m->name), 2);
    put(b, extra, 2);
}

static void put_local(struct zip *z, const struct member *m)
{
    struct lafs_buf *b = &z->head;
    int large = m->size >= 0xffffffffu;
    size_t fixed = LOCAL + strlen(m->name) + (large ? 20 : 0) + 4, pad = (size_t)(-(z->at + fixed) % ALIGN);
    lafs_buf_clear(b);
    put(b, 0x04034b50, 4);
    put_common(b, m, large, fixed - LOCAL - strlen(m->name) + pad);
    lafs_buf_puts(b, m->name);
    if (large) {
        put(b, ZIP64, 2);
        put(b, 16, 2);
        put(b, m->size, 8);
        put(b, m->size, 8);
    }
    put(b, PADDING, 2);
    put(b, pad, 2);
    for (size_t i = 0; i < pad; i++) lafs_buf_putc(b, 'Z');
}

static void put_directory(struct zip *z, const struct member *m)
{
    struct lafs_buf *b = &z->directory;
    int size = m->size >= 0xffffffffu, at = m->at >= 0xffffffffu;
    int extra = (size ? 16 : 0) + (at ? 8 : 0);
    put(b, 0x02014b50, 4);
    put(b, VERSION64, 2);
    put_common(b, m, size || at, extra ? (size_t)extra + 4 : 0);
    put(b, 0, 2); /* comment, disk, attributes */
    put(b, 0, 2);
    put(b, 0, 2);
    put(b, 0, 4);
    put(b, clamp32(m->at), 4);
    lafs_buf_puts(b, m->name);
    if (!extra) return;
    put(b, ZIP64, 2);
    put(b, (uint64_t)extra, 2);
    if (size) {
        put(b, m->size, 8);
        put(b, m->size, 8);
    }
    if (at) put(b, m->at, 8);
}

static lafs_status add(struct zip *z, const char *name, const void *data, uint64_t size, struct lafs_err *err)
{
    struct member m = {.data = data, .size = size, .at = z->at, .crc = crc32_of(z, data, size)};
    snprintf(m.name, sizeof m.name, ROOT "%s", name);
    put_local(z, &m);
    put_directory(z, &m);
    LAFS_TRY(lafs_buf_check(&z->head, err));
    LAFS_TRY(lafs_atomic_write(&z->f, z->head.data, z->head.size, err));
    if (size) LAFS_TRY(lafs_atomic_write(&z->f, data, (size_t)size, err));
    z->at += z->head.size + size;
    z->members++;
    return LAFS_OK;
}

/* The directory and its end, in two sizes where there is need. */
static lafs_status end(struct zip *z, struct lafs_err *err)
{
    struct lafs_buf *b = &z->directory;
    uint64_t size = b->size, past = z->at + size;
    if (z->members >= 0xffff || past >= 0xffffffffu) {
        put(b, 0x06064b50, 4);
        put(b, 44, 8);
        put(b, VERSION64, 2);
        put(b, VERSION64, 2);
        put(b, 0, 8); /* disks */
        put(b, z->members, 8);
        put(b, z->members, 8);
        put(b, size, 8);
        put(b, z->at, 8);
        put(b, 0x07064b50, 4);
        put(b, 0, 4);
        put(b, past, 8);
        put(b, 1, 4);
    }
    uint64_t members = z->members < 0xffff ? z->members : 0xffff;
    put(b, 0x06054b50, 4);
    put(b, 0, 4); /* disks */
    put(b, members, 2);
    put(b, members, 2);
    put(b, clamp32(size), 4);
    put(b, clamp32(z->at), 4);
    put(b, 0, 2); /* comment */
    LAFS_TRY(lafs_buf_check(b, err));
    return lafs_atomic_write(&z->f, b->data, b->size, err);
}

/* -- pickle -- */

static void put_global(struct lafs_buf *b, const char *module, const char *name)
{
    lafs_buf_printf(b, "c%s\n%s\n", module, name);
}

static void put_dict(struct lafs_buf *b) /* an empty OrderedDict */
{
    put_global(b, "collections", "OrderedDict");
    lafs_buf_puts(b, ")R");
}

static void put_string(struct lafs_buf *b, const char *s)
{
    lafs_buf_putc(b, 'X');
    put(b, strlen(s), 4);
    lafs_buf_puts(b, s);
}

static void put_number(struct lafs_buf *b, int64_t v)
{
    if (v <= INT32_MAX) {
        lafs_buf_putc(b, 'J');
        put(b, (uint64_t)v, 4);
    } else {
        lafs_buf_putc(b, 0x8a); /* LONG1 */
        lafs_buf_putc(b, 8);
        put(b, (uint64_t)v, 8);
    }
}

static void put_tensor(struct lafs_buf *b, const struct lafs_st_tensor *t, int i)
{
    char key[16];
    int64_t stride[LAFS_ST_MAX_DIMS];
    uint64_t step = 1; /* which wraps around only where there is nothing to step over */
    for (int k = t->ndim - 1; k >= 0; k--) {
        stride[k] = (int64_t)step;
        step *= t->shape[k] ? (uint64_t)t->shape[k] : 1;
    }
    snprintf(key, sizeof key, "%d", i);
    put_string(b, t->name);
    put_global(b, "torch._utils", "_rebuild_tensor_v2");
    lafs_buf_puts(b, "((");
    put_string(b, "storage");
    put_global(b, "torch", lafs_pth_storage_class(t->dtype));
    put_string(b, key);
    put_string(b, "cpu");
    put_number(b, t->count);
    lafs_buf_puts(b, "tQ");
    put_number(b, 0);
    lafs_buf_putc(b, '(');
    for (int k = 0; k < t->ndim; k++) put_number(b, t->shape[k]);
    lafs_buf_puts(b, "t(");
    for (int k = 0; k < t->ndim; k++) put_number(b, stride[k]);
    lafs_buf_puts(b, "t\x89"); /* no gradient */
    put_dict(b);
    lafs_buf_puts(b, "tR");
}

static lafs_status put_pickle(struct lafs_buf *b, const struct lafs_st_tensor *tensor, int count, struct lafs_err *err)
{
    lafs_buf_puts(b, "\x80\x02");
    put_dict(b);
    lafs_buf_putc(b, '(');
    for (int i = 0; i < count; i++) {
        if (!lafs_pth_storage_class(tensor[i].dtype))
            return lafs_fail(err, LAFS_FAILED, "tensor '%.200s': PyTorch has no type for %s", tensor[i].name,
                             lafs_dtype_name(tensor[i].dtype));
        put_tensor(b, &tensor[i], i);
    }
    lafs_buf_puts(b, "u.");
    return lafs_buf_check(b, err);
}

static void put_metadata(struct lafs_buf *b, const struct lafs_st_meta *meta, int metas)
{
    lafs_buf_putc(b, '{');
    for (int i = 0; i < metas; i++) {
        lafs_buf_puts(b, i ? ",\n" : "\n");
        lafs_json_put_string(b, meta[i].key, strlen(meta[i].key));
        lafs_buf_puts(b, ": ");
        lafs_json_put_string(b, meta[i].value, strlen(meta[i].value));
    }
    lafs_buf_puts(b, "\n}\n");
}

/* -- the whole -- */

static lafs_status put_all(struct zip *z, const struct lafs_buf *pickle, const struct lafs_buf *json,
                           const struct lafs_st_tensor *tensor, int count, struct lafs_err *err)
{
    LAFS_TRY(add(z, "data.pkl", pickle->data, pickle->size, err));
    LAFS_TRY(add(z, "byteorder", "little", 6, err));
    for (int i = 0; i < count; i++) {
        char name[32];
        snprintf(name, sizeof name, "data/%d", i);
        LAFS_TRY(add(z, name, tensor[i].data, (uint64_t)tensor[i].count * lafs_dtype_size(tensor[i].dtype), err));
    }
    LAFS_TRY(add(z, LAFS_PTH_METADATA, json->data, json->size, err));
    LAFS_TRY(add(z, "version", "3\n", 2, err));
    return end(z, err);
}

static lafs_status check_names(const struct lafs_st_tensor *tensor, int count, const struct lafs_st_meta *meta,
                               int metas, struct lafs_err *err)
{
    struct lafs_st *st; /* which looks for names given twice */
    if (metas > LAFS_PTH_MAX_METAS)
        return lafs_fail(err, LAFS_FAILED, "more than %d entries of metadata", LAFS_PTH_MAX_METAS);
    LAFS_TRY(lafs_st_wrap(&st, tensor, count, meta, metas, err));
    lafs_st_close(st);
    return LAFS_OK;
}

lafs_status lafs_pth_write(const char *path, const struct lafs_st_tensor *tensor, int count,
                           const struct lafs_st_meta *meta, int metas, struct lafs_err *err)
{
    struct zip *z;
    struct lafs_buf pickle, json;
    LAFS_TRY(check_names(tensor, count, meta, metas, err));
    LAFS_TRY(lafs_alloc0(&z, 1, sizeof *z, err));
    fill_table(z->table);
    lafs_buf_init(&pickle);
    lafs_buf_init(&json);
    put_metadata(&json, meta, metas);
    lafs_status rc = put_pickle(&pickle, tensor, count, err);
    if (rc == LAFS_OK) rc = lafs_buf_check(&json, err);
    if (rc == LAFS_OK) rc = lafs_atomic_open(&z->f, path, err);
    if (rc == LAFS_OK) {
        rc = put_all(z, &pickle, &json, tensor, count, err);
        if (rc == LAFS_OK) rc = lafs_atomic_commit(&z->f, err);
        else lafs_atomic_abort(&z->f);
    }
    lafs_buf_release(&pickle);
    lafs_buf_release(&json);
    lafs_buf_release(&z->directory);
    lafs_buf_release(&z->head);
    lafs_free(z);
    return rc;
}
