#include "format/pth.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "format/archive.h"
#include "format/pickle.h"

enum { MAX_TENSORS = 1 << 18, MAX_NAME = 1024 };
#define MAX_TEXT ((size_t)64 << 20)   /* all names together */
#define MAX_PICKLE ((size_t)256 << 20)
#define MAX_COPIES ((size_t)64 << 20) /* and four times the file: what is unpacked, contiguous copies */

/* torch.save before 1.6: a number in a pickle of its own. */
static const unsigned char legacy_magic[] = {0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46,
                                             0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.'};

struct storage {
    const struct lafs_pickle_value *key; /* text */
    enum lafs_dtype dtype;
    int64_t count;
    const unsigned char *data;           /* NULL: not fetched */
    struct lafs_buf own;                 /* of a zip: what was fetched */
    int wanted;
};
struct view {
    const struct lafs_pickle_value *key;
    int64_t stride[LAFS_ST_MAX_DIMS], offset, storage_count;
    int storage;
    size_t name;    /* in text */
    void *copy;     /* owned, or NULL */
};
struct priv {
    const unsigned char *data;
    size_t size, storages_at; /* legacy: where the storages begin */
    struct lafs_buf pickle_bytes, text, json_bytes;
    struct lafs_pickle *pickle;
    struct lafs_json *json;
    char root[256];           /* of a zip */
    struct view *view;        /* (count) */
    int cap, meta_cap;
    struct storage *storage;  /* (storages), by key */
    int storages;
    size_t copied;
};

static const struct {
    const char *global;
    enum lafs_dtype dtype;
} classes[] = {{"torch.FloatStorage", LAFS_F32},  {"torch.DoubleStorage", LAFS_F64},   {"torch.HalfStorage", LAFS_F16},
               {"torch.LongStorage", LAFS_I64},   {"torch.BFloat16Storage", LAFS_BF16}, {"torch.IntStorage", LAFS_I32},
               {"torch.ShortStorage", LAFS_I16},  {"torch.CharStorage", LAFS_I8},      {"torch.ByteStorage", LAFS_U8},
               {"torch.BoolStorage", LAFS_BOOL}};
enum { CLASSES = sizeof classes / sizeof *classes };

static const char *const allowed[] = {
    "collections.OrderedDict", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter",
    "argparse.Namespace", "torch.FloatStorage", "torch.DoubleStorage", "torch.HalfStorage", "torch.LongStorage",
    "torch.BFloat16Storage", "torch.IntStorage", "torch.ShortStorage", "torch.CharStorage", "torch.ByteStorage",
    "torch.BoolStorage", NULL};
static const char *const nothing[] = {NULL};

const char *lafs_pth_storage_class(enum lafs_dtype t)
{
    for (int i = 0; i < CLASSES; i++)
        if (classes[i].dtype == t) return classes[i].global + strlen("torch.");
    return NULL;
}

int lafs_pth_begins(const void *data, size_t size)
{
    return size > 4 && (!memcmp(data, "PK\3\4", 4) ||
                        (size > sizeof legacy_magic && !memcmp(data, legacy_magic, sizeof legacy_magic)));
}

/* -- from the pickle to names and shapes -- */

struct walk {
    struct lafs_pth *p;
    struct lafs_err *err;
    char name[MAX_NAME];
};

static int as_int(const struct lafs_pickle_value *v, int64_t *out)
{
    if (v->type != LAFS_PICKLE_INT) return 0;
    *out = v->i;
    return 1;
}

static int is_tuple(const struct lafs_pickle_value *v) { return v && v->type == LAFS_PICKLE_TUPLE; }

/* The items of a tuple of at least n > 0; NULL: it is none. */
static const struct lafs_pickle_value *const *tuple(const struct lafs_pickle_value *v, size_t n)
{
    return is_tuple(v) && v->count >= n ? v->item : NULL;
}

static lafs_status odd(struct walk *w, const char *what)
{
    return lafs_fail(w->err, LAFS_FAILED, "broken checkpoint: tensor '%.200s' %s", w->name, what);
}

/* ('storage', torch.FloatStorage, '17', 'cpu', 1000[, None]). NULL, or what is wrong with it. */
static const char *read_storage(const struct lafs_pickle_value *v, struct storage *s)
{
    const struct lafs_pickle_value *const *f =
        v->type == LAFS_PICKLE_PERSID ? tuple(v->persistent, 5) : NULL;
    if (!f || !lafs_pickle_is(f[0], "storage") || !lafs_pickle_is_text(f[2]) || !as_int(f[4], &s->count) ||
        s->count < 0)
        return "has no storage";
    if (v->persistent->count > 5 && f[5]->type != LAFS_PICKLE_NONE)
        return "is a view of a storage, as PyTorch wrote them before 0.4: not supported";
    int i = 0;
    while (i < CLASSES && !(f[1]->type == LAFS_PICKLE_GLOBAL && lafs_pickle_names(f[1], classes[i].global))) i++;
    if (i == CLASSES) return "has no storage of a known type";
    s->dtype = classes[i].dtype;
    s->key = f[2];
    return NULL;
}

/* Shape and strides; every element must lie in the storage. */
static lafs_status take_shape(struct walk *w, const struct lafs_pickle_value *const *a, struct lafs_st_tensor *t,
                              struct view *view)
{
    if (!as_int(a[1], &view->offset) || view->offset < 0 || !is_tuple(a[2]) || !is_tuple(a[3]) ||
        a[2]->count != a[3]->count)
        return odd(w, "has no shape");
    if (a[2]->count > LAFS_ST_MAX_DIMS) return odd(w, "has too many dimensions");
    int64_t last = view->offset, step;
    t->ndim = (int)a[2]->count;
    t->count = 1;
    for (int i = 0; i < t->ndim; i++)
        if (!as_int(a[2]->item[i], &t->shape[i]) || !as_int(a[3]->item[i], &view->stride[i]) || t->shape[i] < 0 ||
            view->stride[i] < 0 || __builtin_mul_overflow(t->count, t->shape[i], &t->count))
            return odd(w, "has an impossible shape");
    if (!t->count) return LAFS_OK;
    for (int i = 0; i < t->ndim; i++)
        if (__builtin_mul_overflow(t->shape[i] - 1, view->stride[i], &step) ||
            __builtin_add_overflow(last, step, &last))
            return odd(w, "has an impossible shape");
    if (last >= view->storage_count) return odd(w, "reaches beyond its storage");
    return LAFS_OK;
}

static lafs_status put_text(struct walk *w, const char *s, size_t n, size_t *at)
{
    struct priv *p = w->p->priv;
    if (p->text.size + n + 1 > MAX_TEXT) return lafs_fail(w->err, LAFS_FAILED, "checkpoint with too many names");
    *at = p->text.size;
    lafs_buf_put(&p->text, s, n);
    lafs_buf_putc(&p->text, 0);
    return lafs_buf_check(&p->text, w->err);
}

/* Seventh comes what PyTorch 2 notes of a tensor whose values are not those of its storage: {'neg': True}. */
static int is_unresolved(const struct lafs_pickle_value *args)
{
    return args->count > 6 && args->item[6]->type == LAFS_PICKLE_DICT && args->item[6]->count > 0;
}

static lafs_status add_tensor(struct walk *w, const struct lafs_pickle_value *call)
{
    struct lafs_pth *p = w->p;
    struct priv *pv = p->priv;
    const struct lafs_pickle_value *const *a = tuple(call->call->args, 4);
    if (!a) return odd(w, "is made of too little");
    if (is_unresolved(call->call->args))
        return odd(w, "is a view whose values are yet to be negated or conjugated: see resolve_neg, resolve_conj");
    if (p->count == MAX_TENSORS)
        return lafs_fail(w->err, LAFS_FAILED, "checkpoint with more than %d tensors", MAX_TENSORS);
    if (p->count == pv->cap) {
        int cap = pv->cap ? 2 * pv->cap : 256;
        LAFS_TRY(lafs_resize(&p->tensor, (size_t)p->count, (size_t)cap, sizeof *p->tensor, w->err));
        LAFS_TRY(lafs_resize(&pv->view, (size_t)p->count, (size_t)cap, sizeof *pv->view, w->err));
        pv->cap = cap;
    }
    struct lafs_st_tensor *t = &p->tensor[p->count];
    struct view *v = &pv->view[p->count];
    *t = (struct lafs_st_tensor){.dtype = LAFS_F32};
    *v = (struct view){.storage = -1};
    struct storage s;
    const char *wrong = read_storage(a[0], &s);
    if (wrong) return odd(w, wrong);
    t->dtype = s.dtype;
    v->key = s.key;
    v->storage_count = s.count;
    LAFS_TRY(take_shape(w, a, t, v));
    LAFS_TRY(put_text(w, w->name, strlen(w->name), &v->name));
    p->count++;
    return LAFS_OK;
}

/* A dictionary, ordered or not. What was appended to one, as if it were a list, is no pairs. */
static int has_pairs(const struct lafs_pickle_value *v)
{
    if (v->type == LAFS_PICKLE_DICT) return 1;
    return v->type == LAFS_PICKLE_CALL && lafs_pickle_names(v, "collections.OrderedDict") && !v->call->listed;
}

static lafs_status walk(struct walk *w, const struct lafs_pickle_value *v);

/* Goes into what the name, lengthened by the key, holds. */
static lafs_status enter(struct walk *w, const char *key, size_t n, const struct lafs_pickle_value *v)
{
    size_t old = strlen(w->name), dot = old > 0;
    if (n == 0 || memchr(key, 0, n)) return lafs_fail(w->err, LAFS_FAILED, "checkpoint with an empty or odd name");
    if (old + dot + n >= sizeof w->name) return lafs_fail(w->err, LAFS_FAILED, "checkpoint with too long a name");
    if (dot) w->name[old] = '.';
    memcpy(w->name + old + dot, key, n);
    w->name[old + dot + n] = 0;
    lafs_status s = walk(w, v);
    w->name[old] = 0;
    return s;
}

static lafs_status enter_number(struct walk *w, int64_t i, const struct lafs_pickle_value *v)
{
    char key[32];
    int n = snprintf(key, sizeof key, "%lld", (long long)i);
    return enter(w, key, (size_t)n, v);
}

static lafs_status walk_pairs(struct walk *w, const struct lafs_pickle_value *v)
{
    for (size_t i = 0; i < v->count; i++) {
        const struct lafs_pickle_value *k = v->item[2 * i], *in = v->item[2 * i + 1];
        if (lafs_pickle_is_text(k)) LAFS_TRY(enter(w, k->data, k->size, in));
        else if (k->type == LAFS_PICKLE_INT) LAFS_TRY(enter_number(w, k->i, in));
    }
    return LAFS_OK;
}

static lafs_status walk(struct walk *w, const struct lafs_pickle_value *v)
{
    if (v->type == LAFS_PICKLE_DICT) return walk_pairs(w, v);
    if (v->type == LAFS_PICKLE_LIST || v->type == LAFS_PICKLE_TUPLE) {
        for (size_t i = 0; i < v->count; i++) LAFS_TRY(enter_number(w, (int64_t)i, v->item[i]));
        return LAFS_OK;
    }
    if (v->type != LAFS_PICKLE_CALL) return LAFS_OK;
    if (lafs_pickle_names(v, "torch._utils._rebuild_tensor_v2")) return add_tensor(w, v);
    if (lafs_pickle_names(v, "torch._utils._rebuild_parameter")) {
        const struct lafs_pickle_value *const *a = tuple(v->call->args, 1);
        return a ? walk(w, a[0]) : odd(w, "is a parameter of nothing");
    }
    if (!has_pairs(v)) return LAFS_OK; /* a Namespace: options of a program */
    return walk_pairs(w, v);           /* its state is what PyTorch notes of versions */
}

/* -- plain values of the outermost dictionary -- */

static lafs_status meta_room(struct lafs_pth *p, struct lafs_err *err)
{
    struct priv *pv = p->priv;
    if (p->metas < pv->meta_cap) return LAFS_OK;
    int cap = pv->meta_cap ? 2 * pv->meta_cap : 64;
    LAFS_TRY(lafs_resize(&p->meta, (size_t)p->metas, (size_t)cap, sizeof *p->meta, err));
    pv->meta_cap = cap;
    return LAFS_OK;
}

static lafs_status add_meta(struct lafs_pth *p, size_t key, size_t value, struct lafs_err *err)
{
    LAFS_TRY(meta_room(p, err));
    /* Places in the text for now: it still moves. */
    p->meta[p->metas++] = (struct lafs_st_meta){(const char *)key, (const char *)value};
    return LAFS_OK;
}

static lafs_status take_metas(struct walk *w, const struct lafs_pickle_value *root)
{
    for (size_t i = 0; has_pairs(root) && i < root->count; i++) {
        const struct lafs_pickle_value *k = root->item[2 * i], *v = root->item[2 * i + 1];
        char number[64];
        const char *s = number;
        size_t n, key = 0, value = 0;
        if (!lafs_pickle_is_text(k) || memchr(k->data, 0, k->size)) continue;
        if (v->type == LAFS_PICKLE_INT) snprintf(number, sizeof number, "%lld", (long long)v->i);
        else if (v->type == LAFS_PICKLE_FLOAT) snprintf(number, sizeof number, "%.9g", v->f);
        else if (v->type == LAFS_PICKLE_BOOL) snprintf(number, sizeof number, "%s", v->i ? "true" : "false");
        else if (!lafs_pickle_is_text(v) || memchr(v->data, 0, v->size)) continue;
        if (w->p->metas == LAFS_PTH_MAX_METAS) {
            w->p->metas_left++;
            continue;
        }
        n = lafs_pickle_is_text(v) ? (s = v->data, v->size) : strlen(number);
        LAFS_TRY(put_text(w, k->data, k->size, &key));
        LAFS_TRY(put_text(w, s, n, &value));
        LAFS_TRY(add_meta(w->p, key, value, w->err));
    }
    return LAFS_OK;
}

/* Names have their place now. */
static void settle_text(struct lafs_pth *p)
{
    struct priv *pv = p->priv;
    const char *text = (const char *)pv->text.data;
    for (int i = 0; i < p->count; i++) p->tensor[i].name = text + pv->view[i].name;
    for (int i = 0; i < p->metas; i++)
        p->meta[i] = (struct lafs_st_meta){text + (size_t)p->meta[i].key, text + (size_t)p->meta[i].value};
}

/* -- storages -- */

static int compare_text(const char *a, size_t na, const char *b, size_t nb)
{
    size_t n = na < nb ? na : nb;
    int c = n ? memcmp(a, b, n) : 0;
    return c ? c : (na > nb) - (na < nb);
}
/* What a tensor says of its storage, or (view -1) what the pickle says of one that no tensor of ours is in. */
struct claim {
    struct storage s;
    int view;
};

static int same_key(const struct storage *a, const struct storage *b)
{
    return compare_text(a->key->data, a->key->size, b->key->data, b->key->size) == 0;
}

/* By key; tensors' first. */
static int by_key(const void *a, const void *b)
{
    const struct claim *x = a, *y = b;
    int c = compare_text(x->s.key->data, x->s.key->size, y->s.key->data, y->s.key->size);
    if (c) return c;
    c = (x->view < 0) - (y->view < 0);
    return c ? c : (x->view > y->view) - (x->view < y->view);
}

/* One storage for all tensors that name it, and they must agree on what it is. */
static lafs_status merge_claims(struct lafs_pth *p, const struct claim *c, size_t count, struct lafs_err *err)
{
    struct priv *pv = p->priv;
    LAFS_TRY(lafs_alloc0(&pv->storage, count, sizeof *pv->storage, err));
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || !same_key(&c[i - 1].s, &c[i].s)) pv->storage[pv->storages++] = c[i].s;
        const struct storage *s = &pv->storage[pv->storages - 1];
        if (c[i].view < 0) continue;
        pv->view[c[i].view].storage = pv->storages - 1;
        if (s->dtype != c[i].s.dtype || s->count != c[i].s.count)
            return lafs_fail(err, LAFS_FAILED, "broken checkpoint: tensor '%.200s' contradicts another of its storage",
                             p->tensor[c[i].view].name);
    }
    return LAFS_OK;
}

/* In a zip what no tensor is in can be passed over. Elsewhere it must be known how long it is. */
static lafs_status list_storages(struct lafs_pth *p, struct lafs_err *err)
{
    struct priv *pv = p->priv;
    const struct lafs_pickle *all = pv->pickle;
    size_t n = 0, others = p->legacy ? all->persids : 0;
    struct claim *c;
    LAFS_TRY(lafs_alloc(&c, (size_t)p->count + others, sizeof *c, err));
    for (int i = 0; i < p->count; i++) {
        const struct view *v = &pv->view[i];
        c[n++] = (struct claim){{.key = v->key, .dtype = p->tensor[i].dtype, .count = v->storage_count}, i};
    }
    for (size_t i = 0; i < others; i++) {
        c[n] = (struct claim){.view = -1};
        if (!read_storage(all->persid[i], &c[n].s)) n++;
    }
    qsort(c, n, sizeof *c, by_key);
    lafs_status rc = merge_claims(p, c, n, err);
    lafs_free(c);
    return rc;
}

static struct storage *find_storage(struct priv *pv, const char *key, size_t n)
{
    int lo = 0, hi = pv->storages;
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2;
        struct storage *s = &pv->storage[mid];
        int c = compare_text(key, n, s->key->data, s->key->size);
        if (c == 0) return s;
        if (c < 0) hi = mid;
        else lo = mid + 1;
    }
    return NULL;
}

static lafs_status take_tree(struct lafs_pth *p, const struct lafs_pickle_value *root, struct lafs_err *err)
{
    struct walk w = {.p = p, .err = err};
    LAFS_TRY(walk(&w, root));
    LAFS_TRY(take_metas(&w, root));
    settle_text(p);
    return list_storages(p, err);
}

/* -- the zip -- */

/* The name of a member within the archive's one folder, or NULL. */
static const char *within(const struct priv *pv, const char *name)
{
    size_t n = strlen(pv->root);
    return !strncmp(name, pv->root, n) ? name + n : NULL;
}

static lafs_status read_record(struct lafs_archive *zip, struct lafs_buf *out, size_t max, struct lafs_err *err)
{
    if (out->data) return lafs_fail(err, LAFS_FAILED, "the zip archive holds a record twice");
    lafs_status s = lafs_archive_data(zip, max, out, err);
    return s == LAFS_BAD_RECORD ? LAFS_FAILED : s;
}

static lafs_status other_order(struct lafs_err *err)
{
    return lafs_fail(err, LAFS_FAILED, "is a checkpoint of a machine of another byte order: not supported");
}

/* The records that say what there is: pickle, byte order, our own metadata. */
static lafs_status read_records(struct lafs_pth *p, struct lafs_archive *zip, struct lafs_err *err)
{
    struct priv *pv = p->priv;
    struct lafs_archive_member m;
    struct lafs_buf order;
    lafs_status s;
    lafs_buf_init(&order);
    while ((s = lafs_archive_next(zip, &m, err)) == LAFS_OK) {
        const char *slash = strchr(m.name, '/');
        if (!slash || slash == m.name || (size_t)(slash - m.name) + 2 > sizeof pv->root) continue;
        if (!pv->root[0]) memcpy(pv->root, m.name, (size_t)(slash - m.name) + 1);
        const char *name = within(pv, m.name);
        if (!name) continue;
        if (!strcmp(name, "data.pkl")) s = read_record(zip, &pv->pickle_bytes, MAX_PICKLE, err);
        else if (!strcmp(name, "byteorder")) s = read_record(zip, &order, 64, err);
        else if (!strcmp(name, LAFS_PTH_METADATA)) s = read_record(zip, &pv->json_bytes, MAX_TEXT, err);
        if (s != LAFS_OK) break;
    }
    if (s == LAFS_END) s = LAFS_OK;
    if (s == LAFS_OK && !pv->pickle_bytes.data)
        s = lafs_fail(err, LAFS_FAILED, "is a zip archive, but no PyTorch checkpoint: it has no data.pkl");
    if (s == LAFS_OK && order.size && (order.size != 6 || memcmp(order.data, "little", 6)))
        s = other_order(err);
    lafs_buf_release(&order);
    return s;
}

static lafs_status take_json(struct lafs_pth *p, struct lafs_err *err)
{
    struct priv *pv = p->priv;
    if (!pv->json_bytes.data) return LAFS_OK;
    p->ours = 1;
    LAFS_TRY(lafs_json_parse(&pv->json, (const char *)pv->json_bytes.data, pv->json_bytes.size, err));
    for (const struct lafs_json *j = pv->json->child; j && pv->json->type == LAFS_JSON_OBJECT; j = j->next) {
        if (j->type != LAFS_JSON_STRING) continue;
        if (p->metas == LAFS_PTH_MAX_METAS)
            return lafs_fail(err, LAFS_FAILED, "more than %d entries of metadata", LAFS_PTH_MAX_METAS);
        LAFS_TRY(meta_room(p, err));
        p->meta[p->metas++] = (struct lafs_st_meta){j->key, j->str};
    }
    return LAFS_OK;
}

static lafs_status parse_zip(struct lafs_pth *p, struct lafs_err *err)
{
    struct priv *pv = p->priv;
    struct lafs_archive *zip;
    const struct lafs_pickle_options opt = {.allow = allowed};
    LAFS_TRY(lafs_zip_open_memory(&zip, pv->data, pv->size, "the zip archive", err));
    lafs_status s = read_records(p, zip, err);
    lafs_archive_close(zip);
    LAFS_TRY(s);
    LAFS_TRY(lafs_pickle_parse(&pv->pickle, pv->pickle_bytes.data, pv->pickle_bytes.size, &opt, err));
    LAFS_TRY(take_tree(p, pv->pickle->root, err));
    return take_json(p, err);
}

static lafs_status wrong_size(const struct storage *s, uint64_t have, struct lafs_err *err)
{
    return lafs_fail(err, LAFS_FAILED, "broken checkpoint: storage '%.*s' has %llu bytes, not %lld values of %s",
                     (int)(s->key->size < 100 ? s->key->size : 100), s->key->data, (unsigned long long)have,
                     (long long)s->count, lafs_dtype_name(s->dtype));
}

/* Some bytes of a zip may stand for any number. */
static size_t copies_left(const struct priv *pv) { return MAX_COPIES + 4 * pv->size - pv->copied; }

static lafs_status fetch_from_zip(struct lafs_pth *p, struct lafs_err *err)
{
    struct priv *pv = p->priv;
    struct lafs_archive *zip;
    struct lafs_archive_member m;
    lafs_status st;
    LAFS_TRY(lafs_zip_open_memory(&zip, pv->data, pv->size, "the zip archive", err));
    while ((st = lafs_archive_next(zip, &m, err)) == LAFS_OK) {
        const char *name = within(pv, m.name);
        if (!name || strncmp(name, "data/", 5)) continue;
        struct storage *s = find_storage(pv, name + 5, strlen(name + 5));
        if (!s || !s->wanted) continue;
        size_t item = lafs_dtype_size(s->dtype);
        if (m.size < 0 || (uint64_t)m.size % item || (uint64_t)m.size / item != (uint64_t)s->count) {
            st = wrong_size(s, (uint64_t)m.size, err);
            break;
        }
        if ((uint64_t)m.size > copies_left(pv)) {
            st = lafs_fail(err, LAFS_FAILED, "'%.200s' unpacks to %lld bytes, out of proportion to the file", m.name,
                           (long long)m.size);
            break;
        }
        pv->copied += (size_t)m.size;
        if ((st = read_record(zip, &s->own, (size_t)m.size, err)) != LAFS_OK) break;
        s->data = s->own.data;
    }
    lafs_archive_close(zip);
    return st == LAFS_END ? LAFS_OK : st;
}

/* -- what torch.save wrote before: pickles one behind the other, then the storages -- */

static lafs_status next_pickle(struct priv *pv, size_t *at, const char *const *allow, struct lafs_pickle **out,
                               struct lafs_err *err)
{
    const struct lafs_pickle_options opt = {.allow = allow};
    LAFS_TRY(lafs_pickle_parse(out, pv->data + *at, pv->size - *at, &opt, err));
    *at += (*out)->used;
    return LAFS_OK;
}

static lafs_status parse_legacy(struct lafs_pth *p, struct lafs_err *err)
{
    struct priv *pv = p->priv;
    struct lafs_pickle *head;
    size_t at = 0;
    p->legacy = 1;
    for (int i = 0; i < 3; i++) { /* the magic number, a version, a description of the machine */
        LAFS_TRY(next_pickle(pv, &at, nothing, &head, err));
        const struct lafs_pickle_value *little = lafs_pickle_get(head->root, "little_endian");
        int other = i == 2 && !(little && little->type == LAFS_PICKLE_BOOL && little->i);
        int version = i != 1 || (head->root->type == LAFS_PICKLE_INT && head->root->i == 1001);
        lafs_pickle_free(head);
        if (other) return other_order(err);
        if (!version) return lafs_fail(err, LAFS_FAILED, "is a checkpoint of an unknown version");
    }
    LAFS_TRY(next_pickle(pv, &at, allowed, &pv->pickle, err));
    pv->storages_at = at;
    return take_tree(p, pv->pickle->root, err);
}

/* A list of keys; then for each a count and that many values. */
static lafs_status fetch_legacy(struct lafs_pth *p, struct lafs_err *err)
{
    struct priv *pv = p->priv;
    struct lafs_pickle *keys;
    size_t at = pv->storages_at;
    LAFS_TRY(next_pickle(pv, &at, nothing, &keys, err));
    lafs_status rc = keys->root->type == LAFS_PICKLE_LIST
                         ? LAFS_OK
                         : lafs_fail(err, LAFS_FAILED, "broken checkpoint: no list of storages");
    for (size_t i = 0; rc == LAFS_OK && i < keys->root->count; i++) {
        const struct lafs_pickle_value *k = keys->root->item[i];
        struct storage *s = lafs_pickle_is_text(k) ? find_storage(pv, k->data, k->size) : NULL;
        uint64_t count, bytes;
        if (!s) rc = lafs_fail(err, LAFS_FAILED, "broken checkpoint: a storage of no tensor");
        else if (pv->size - at < 8) rc = lafs_fail(err, LAFS_FAILED, "the checkpoint is cut off");
        if (rc != LAFS_OK) break;
        memcpy(&count, pv->data + at, 8);
        at += 8;
        if (count != (uint64_t)s->count || __builtin_mul_overflow(count, lafs_dtype_size(s->dtype), &bytes))
            rc = wrong_size(s, count, err);
        else if (bytes > pv->size - at) rc = lafs_fail(err, LAFS_FAILED, "the checkpoint is cut off");
        else {
            s->data = pv->data + at;
            at += (size_t)bytes;
        }
    }
    lafs_pickle_free(keys);
    return rc;
}

/* -- tensors out of storages -- */

static int contiguous(const struct lafs_st_tensor *t, const struct view *v)
{
    int64_t step = 1;
    for (int i = t->ndim - 1; i >= 0; i--) {
        if (t->shape[i] != 1 && v->stride[i] != step) return 0;
        step *= t->shape[i];
    }
    return 1;
}

/* Counts through all places but the last dimension's, whose row is copied. The step that leads beyond a dimension's end
 * is taken back; a dimension of one may have a stride that leads anywhere: hence numbers that wrap around. */
static void gather(const struct lafs_st_tensor *t, const struct view *v, const unsigned char *from, unsigned char *to)
{
    size_t item = lafs_dtype_size(t->dtype);
    int64_t at[LAFS_ST_MAX_DIMS] = {0}, row = t->shape[t->ndim - 1], step = v->stride[t->ndim - 1];
    uint64_t place = (uint64_t)v->offset;
    for (int64_t done = 0; done < t->count; done += row) {
        for (int64_t k = 0; k < row; k++, to += item) memcpy(to, from + (place + (uint64_t)(k * step)) * item, item);
        for (int i = t->ndim - 2; i >= 0; i--) {
            place += (uint64_t)v->stride[i];
            if (++at[i] < t->shape[i]) break;
            place -= (uint64_t)v->stride[i] * (uint64_t)t->shape[i];
            at[i] = 0;
        }
    }
}

static lafs_status fill(struct lafs_pth *p, int i, struct lafs_err *err)
{
    static const unsigned char none[8];
    struct priv *pv = p->priv;
    struct lafs_st_tensor *t = &p->tensor[i];
    struct view *v = &pv->view[i];
    const struct storage *s = &pv->storage[v->storage];
    size_t item = lafs_dtype_size(t->dtype), bytes;
    if (!t->count) {
        t->data = none;
        return LAFS_OK;
    }
    if (!s->data)
        return lafs_fail(err, LAFS_FAILED, "broken checkpoint: tensor '%.200s' has no data in the file", t->name);
    if (contiguous(t, v)) {
        t->data = s->data + (size_t)v->offset * item;
        return LAFS_OK;
    }
    if (!lafs_mul_ok((size_t)t->count, item, &bytes) || bytes > copies_left(pv))
        return lafs_fail(err, LAFS_FAILED, "tensor '%.200s' repeats its values too often", t->name);
    pv->copied += bytes;
    LAFS_TRY(lafs_alloc(&v->copy, (size_t)t->count, item, err));
    gather(t, v, s->data, v->copy);
    t->data = v->copy;
    return LAFS_OK;
}

lafs_status lafs_pth_load(struct lafs_pth *p, const unsigned char *want, struct lafs_err *err)
{
    struct priv *pv = p->priv;
    for (int i = 0; i < p->count; i++)
        if ((!want || want[i]) && p->tensor[i].count) pv->storage[pv->view[i].storage].wanted = 1;
    LAFS_TRY(p->legacy ? fetch_legacy(p, err) : fetch_from_zip(p, err));
    for (int i = 0; i < p->count; i++)
        if (!want || want[i]) LAFS_TRY(fill(p, i, err));
    return LAFS_OK;
}

lafs_status lafs_pth_parse(struct lafs_pth **out, const void *data, size_t size, struct lafs_err *err)
{
    struct lafs_pth *p;
    *out = NULL;
    if (!lafs_pth_begins(data, size)) return lafs_fail(err, LAFS_FAILED, "no PyTorch checkpoint");
    LAFS_TRY(lafs_alloc0(&p, 1, sizeof *p, err));
    lafs_status s = lafs_alloc0(&p->priv, 1, sizeof(struct priv), err);
    if (s == LAFS_OK) {
        struct priv *pv = p->priv;
        pv->data = data;
        pv->size = size;
        s = *(const char *)data == 'P' ? parse_zip(p, err) : parse_legacy(p, err);
    }
    if (s != LAFS_OK) {
        lafs_pth_close(p);
        if (err) err->status = LAFS_FAILED; /* what is cut off here is a file, not a stream */
        return LAFS_FAILED;
    }
    *out = p;
    return LAFS_OK;
}

void lafs_pth_close(struct lafs_pth *p)
{
    if (!p) return;
    struct priv *pv = p->priv;
    if (pv) {
        for (int i = 0; i < p->count; i++) lafs_free(pv->view[i].copy);
        for (int i = 0; i < pv->storages; i++) lafs_buf_release(&pv->storage[i].own);
        lafs_free(pv->view);
        lafs_free(pv->storage);
        lafs_pickle_free(pv->pickle);
        lafs_json_free(pv->json);
        lafs_buf_release(&pv->pickle_bytes);
        lafs_buf_release(&pv->json_bytes);
        lafs_buf_release(&pv->text);
        lafs_free(pv);
    }
    lafs_free(p->tensor);
    lafs_free(p->meta);
    lafs_free(p);
}
