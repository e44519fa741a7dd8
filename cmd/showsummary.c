#include "cmd/showsummary.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cmd/showvalue.h"

enum { MAX_FIELDS = 200, MAX_PEOPLE = 1000000 };

void summary_init(struct summary *s)
{
    memset(s, 0, sizeof *s);
    lafs_header_init(&s->header);
}

void summary_release(struct summary *s)
{
    lafs_header_release(&s->header);
    for (int i = 0; i < s->fields; i++) lafs_free(s->field[i].name);
    lafs_free(s->field);
    lafs_strset_release(&s->people);
}

lafs_status summary_header(struct summary *s, const struct lafs_header *h, struct lafs_err *err)
{
    s->has_header = 1;
    return lafs_header_copy(&s->header, h, err);
}

lafs_status summary_name(struct summary *s, const char *name, size_t len, struct lafs_err *err)
{
    int64_t id;
    if (s->people.count >= MAX_PEOPLE) {
        if (lafs_strset_find(&s->people, name, len) < 0) s->many_people = 1;
        return LAFS_OK;
    }
    return lafs_strset_add(&s->people, name, len, &id, err);
}

/* Makes `type` say what both have in common: numbers that differ become '*', other differences "of several kinds". */
static void generalise(char *type, size_t cap, const char *other)
{
    char out[96];
    size_t n = 0;
    const char *a = type, *b = other;
    for (int png = 0; png < 2; png++) {
        const char *kind = png ? "PNG " : "JPEG ";
        if (strncmp(type, kind, strlen(kind)) || strncmp(other, kind, strlen(kind))) continue;
        snprintf(type, cap, "%sof any size", kind);
        return;
    }
    while ((*a || *b) && n + 24 < sizeof out) {
        int da = isdigit((unsigned char)*a) || *a == '*', db = isdigit((unsigned char)*b) || *b == '*';
        if (da && db) {
            size_t la = strspn(a, "0123456789*"), lb = strspn(b, "0123456789*");
            if (la == lb && !strncmp(a, b, la)) n += (size_t)snprintf(out + n, sizeof out - n, "%.*s", (int)la, a);
            else out[n++] = '*';
            a += la, b += lb;
        } else if (*a == *b) {
            out[n++] = *a;
            a++, b++;
        } else {
            snprintf(type, cap, "of several kinds");
            return;
        }
    }
    out[n] = 0;
    snprintf(type, cap, "%s", out);
}

static lafs_status find_field(struct summary *s, const char *name, size_t len, struct summary_field **out,
                              struct lafs_err *err)
{
    for (int i = 0; i < s->fields; i++)
        if (strlen(s->field[i].name) == len && !memcmp(s->field[i].name, name, len)) {
            *out = &s->field[i];
            return LAFS_OK;
        }
    *out = NULL;
    if (s->fields == MAX_FIELDS) {
        s->unnamed_fields = 1;
        return LAFS_OK;
    }
    if (!s->field) LAFS_TRY(lafs_alloc0(&s->field, MAX_FIELDS, sizeof *s->field, err));
    struct summary_field *f = &s->field[s->fields];
    LAFS_TRY(lafs_alloc(&f->name, len + 1, 1, err));
    memcpy(f->name, name, len);
    f->name[len] = 0;
    s->fields++;
    *out = f;
    return LAFS_OK;
}

static lafs_status look_at(struct summary *s, const struct lafs_sample *sample, const struct lafs_field *field,
                           struct lafs_buf *text, struct lafs_err *err)
{
    const char *name = (const char *)sample->buf.data + field->name;
    const unsigned char *value = sample->buf.data + field->at;
    struct summary_field *f;
    struct lafs_mp_value v;
    struct lafs_walk w = {value, value + field->len};
    LAFS_TRY(find_field(s, name, field->name_len, &f, err));
    LAFS_TRY(lafs_walk_next(&w, &v, err));
    if (field->name_len == 4 && !memcmp(name, "name", 4) && v.type == LAFS_MP_STR)
        LAFS_TRY(summary_name(s, v.data, v.len, err));
    if (!f) return LAFS_OK;
    lafs_buf_clear(text);
    LAFS_TRY(show_type(text, value, field->len, err));
    const char *type = lafs_buf_str(text);
    LAFS_TRY(lafs_buf_check(text, err));
    if (f->count++ == 0) {
        snprintf(f->type, sizeof f->type, "%s", type);
        lafs_buf_clear(text);
        if (v.type == LAFS_MP_STR) show_text(text, v.data, v.len, 50);
        else if (v.type == LAFS_MP_INT || v.type == LAFS_MP_FLOAT) LAFS_TRY(show_json(text, value, field->len, 0, err));
        else if (v.type == LAFS_MP_BIN) lafs_buf_printf(text, "%zu bytes", v.len);
        const char *example = lafs_buf_str(text);
        LAFS_TRY(lafs_buf_check(text, err));
        snprintf(f->example, sizeof f->example, "%s", example);
    } else if (strcmp(f->type, type)) generalise(f->type, sizeof f->type, type);
    return LAFS_OK;
}

lafs_status summary_add(struct summary *s, const struct lafs_sample *sample, struct lafs_err *err)
{
    struct lafs_buf text;
    lafs_status st = LAFS_OK;
    lafs_buf_init(&text);
    for (int i = 0; i < sample->count && st == LAFS_OK; i++) st = look_at(s, sample, &sample->field[i], &text, err);
    lafs_buf_release(&text);
    s->looked++;
    return st;
}

/* -- text -- */

static void put_label(struct lafs_buf *b, const char *label) { lafs_buf_printf(b, "%-12s", label); }

static int is_digest(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!isxdigit((unsigned char)s[i])) return 0;
    return len == 64;
}

/* {name: value} as `name value, name value`. */
static void put_options(struct lafs_buf *b, const void *map, size_t size)
{
    struct lafs_walk w = {map, (const unsigned char *)map + size};
    struct lafs_mp_value m, k, v;
    if (lafs_walk_next(&w, &m, NULL) != LAFS_OK || m.type != LAFS_MP_MAP) return;
    for (size_t i = 0; i < m.len; i++) {
        if (lafs_walk_next(&w, &k, NULL) != LAFS_OK || k.type != LAFS_MP_STR) return;
        if (lafs_walk_next(&w, &v, NULL) != LAFS_OK || v.type != LAFS_MP_STR) return;
        lafs_buf_puts(b, i ? ", " : ": ");
        show_text(b, k.data, k.len, 60);
        if (v.len == 0 || (v.len == 3 && !memcmp(v.data, "yes", 3))) continue; /* a flag */
        lafs_buf_putc(b, ' ');
        show_text(b, v.data, v.len, is_digest(v.data, v.len) ? 12 : 60);
    }
}

static void put_prov(struct lafs_buf *b, const struct lafs_header *h)
{
    struct lafs_mp_value list, v;
    if (h->prov.size == 0) return;
    struct lafs_walk w = {h->prov.data, h->prov.data + h->prov.size};
    if (lafs_walk_next(&w, &list, NULL) != LAFS_OK || list.type != LAFS_MP_ARRAY) return;
    for (size_t i = 0; i < list.len; i++) {
        const unsigned char *from = w.p;
        const void *at;
        size_t len;
        if (lafs_walk_skip(&w, NULL) != LAFS_OK) return;
        put_label(b, i ? "" : "made by");
        static const char *const part[] = {"program", "version"};
        for (int k = 0; k < 2; k++) {
            if (lafs_map_find(from, (size_t)(w.p - from), part[k], &at, &len, NULL) != LAFS_OK) continue;
            struct lafs_walk one = {at, (const unsigned char *)at + len};
            if (lafs_walk_next(&one, &v, NULL) != LAFS_OK || v.type != LAFS_MP_STR) continue;
            if (k) lafs_buf_putc(b, ' ');
            show_text(b, v.data, v.len, 40);
        }
        if (lafs_map_find(from, (size_t)(w.p - from), "options", &at, &len, NULL) == LAFS_OK) put_options(b, at, len);
        lafs_buf_putc(b, '\n');
    }
}

static void put_pixels(struct lafs_buf *b, const struct lafs_pixels *p)
{
    if (!p->size && !p->aligner[0] && !p->channels[0]) return;
    put_label(b, "pixels");
    if (p->size) lafs_buf_printf(b, "%dx%d", p->size, p->size);
    else lafs_buf_puts(b, "of any size");
    if (!strcmp(p->aligner, "none")) lafs_buf_puts(b, ", not aligned");
    else if (p->aligner[0]) lafs_buf_printf(b, ", aligned (%s)", p->aligner);
    if (p->channels[0]) lafs_buf_printf(b, ", %s", p->channels);
    lafs_buf_putc(b, '\n');
}

static void put_fields(struct lafs_buf *b, const struct summary *s)
{
    int wide = 5;
    for (int i = 0; i < s->fields; i++) {
        int n = (int)strlen(s->field[i].name);
        wide = n > wide ? n : wide;
    }
    wide = wide > 30 ? 30 : wide;
    if (s->looked < s->records) lafs_buf_printf(b, "fields of the first %lld\n", (long long)s->looked);
    else lafs_buf_puts(b, "fields\n");
    for (int i = 0; i < s->fields; i++) {
        const struct summary_field *f = &s->field[i];
        struct lafs_buf name;
        lafs_buf_init(&name);
        show_text(&name, f->name, strlen(f->name), 60);
        lafs_buf_printf(b, "  %-*s  %-18s", wide, lafs_buf_str(&name) ? lafs_buf_str(&name) : "", f->type);
        lafs_buf_release(&name);
        if (f->count < s->looked) lafs_buf_printf(b, "  in %lld", (long long)f->count);
        if (f->example[0]) lafs_buf_printf(b, "  e.g. %s", f->example);
        while (b->size && b->data[b->size - 1] == ' ') b->size--;
        lafs_buf_putc(b, '\n');
    }
    if (s->unnamed_fields) lafs_buf_puts(b, "  and more\n");
}

void summary_text(const struct summary *s, const char *what, const struct lafs_totals *upstream, int64_t bad,
                  struct lafs_buf *out)
{
    lafs_buf_printf(out, "%s\n", what);
    put_label(out, "records");
    lafs_buf_printf(out, "%lld", (long long)s->records);
    if (upstream && upstream->skipped)
        lafs_buf_printf(out, ", %lld bad ones dropped before", (long long)upstream->skipped);
    if (upstream && upstream->no_face)
        lafs_buf_printf(out, ", %lld photos without a face", (long long)upstream->no_face);
    if (bad) lafs_buf_printf(out, ", %lld of them bad", (long long)bad);
    lafs_buf_putc(out, '\n');
    if (s->people.count) {
        put_label(out, "people");
        lafs_buf_printf(out, "%s%lld\n", s->many_people ? "more than " : "", (long long)s->people.count);
    }
    const struct lafs_header *h = &s->header;
    put_pixels(out, &h->pixels);
    if (h->seed >= 0) {
        put_label(out, "seed");
        lafs_buf_printf(out, "%lld\n", (long long)h->seed);
    }
    if (h->epochs_from >= 0) {
        put_label(out, "epochs");
        lafs_buf_printf(out, "%lld to %lld", (long long)h->epochs_from, (long long)h->epochs_to);
        if (h->images >= 0) lafs_buf_printf(out, ", of %lld images", (long long)h->images);
        lafs_buf_putc(out, '\n');
    }
    put_prov(out, h);
    if (s->fields) put_fields(out, s);
}
