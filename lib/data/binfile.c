/* Reading a verification set (lfw.bin): image by image, each with its pair. */
#include <stdio.h>

#include "base/mem.h"
#include "data/face.h"
#include "data/source.h"
#include "format/verifyset.h"

#define MAX_BIN ((size_t)16 << 30) /* bytes; the largest of those in use have some hundred million */

struct binfile {
    struct lafs_source base;
    struct lafs_input in;
    struct lafs_verifyset set;
    int64_t next; /* image */
};

static lafs_status bin_next(struct lafs_source *src, struct lafs_sample *s, struct lafs_err *err)
{
    struct binfile *b = (struct binfile *)src;
    if (b->next == 2 * b->set.pairs) return LAFS_END;
    int64_t pair = b->next / 2;
    const struct lafs_span *image = &b->set.image[b->next];
    char key[32];
    struct lafs_buf value;
    snprintf(key, sizeof key, "%06lld-%c", (long long)pair, b->next % 2 ? 'b' : 'a');
    b->next++;
    lafs_sample_clear(s);
    lafs_sample_set_str(s, "key", key);
    LAFS_TRY(lafs_photo_check(image->data, image->size, err));
    lafs_face_set(s, image->data, image->size);
    lafs_buf_init(&value);
    lafs_pack_array(&value, 2);
    lafs_pack_int(&value, pair);
    lafs_pack_bool(&value, b->set.same[pair]);
    lafs_status st = lafs_buf_check(&value, err);
    if (st == LAFS_OK) lafs_sample_set_raw(s, "pair", value.data, value.size);
    lafs_buf_release(&value);
    return st == LAFS_OK ? lafs_sample_check(s, err) : st;
}

static void bin_close(struct lafs_source *src)
{
    struct binfile *b = (struct binfile *)src;
    lafs_verifyset_release(&b->set);
    lafs_input_close(&b->in);
    lafs_free(b);
}

static lafs_status describe(struct binfile *b, struct lafs_err *err)
{
    struct lafs_env *env = b->base.env;
    struct lafs_header h;
    struct lafs_buf text;
    int64_t same = 0;
    for (int64_t i = 0; i < b->set.pairs; i++) same += b->set.same[i];
    lafs_header_init(&h);
    h.pixels = (struct lafs_pixels){0, "given", "rgb"};
    h.images = 2 * b->set.pairs;
    lafs_status st = lafs_header_add_prov(&h, "verification-set", "1", (const char *[]){"channels"},
                                          (const char *[]){env->opt.swapped ? "bgr" : "rgb"}, 1, err);
    if (st != LAFS_OK) {
        lafs_header_release(&h);
        return st;
    }
    lafs_buf_init(&text);
    lafs_buf_printf(&text, "%s: a verification set, %lld pairs, %lld of them of one person", b->in.name,
                    (long long)b->set.pairs, (long long)same);
    lafs_env_note_pictures(env, &text);
    lafs_buf_release(&text);
    return lafs_env_header(env, &h, b->in.name, err);
}

/* The answers come last: all of it is held. */
static lafs_status read_all(struct binfile *b, struct lafs_err *err)
{
    for (size_t want = (size_t)1 << 20; !b->in.eof; want *= 2) {
        LAFS_TRY(lafs_input_fill(&b->in, want, err));
        if (lafs_input_left(&b->in) > MAX_BIN)
            return lafs_fail(err, LAFS_FAILED, "%s: a pickle of more than %zu bytes", b->in.name, MAX_BIN);
    }
    lafs_status st = lafs_verifyset_parse(&b->set, lafs_input_data(&b->in), lafs_input_left(&b->in), err);
    if (st != LAFS_OK) return lafs_err_prefix(err, "%s", b->in.name);
    if (b->set.pickle->used != lafs_input_left(&b->in))
        return lafs_fail(err, LAFS_FAILED, "%s: %zu bytes behind the pickle's end", b->in.name,
                         lafs_input_left(&b->in) - b->set.pickle->used);
    b->base.expected = 2 * b->set.pairs;
    return describe(b, err);
}

lafs_status lafs_bin_open(struct lafs_source **out, struct lafs_env *env, struct lafs_input *in, struct lafs_err *err)
{
    static const struct lafs_source_ops ops = {bin_next, bin_close};
    struct binfile *b;
    lafs_status st = lafs_alloc0(&b, 1, sizeof *b, err);
    if (st != LAFS_OK) {
        lafs_input_close(in);
        return st;
    }
    b->base = (struct lafs_source){&ops, env, -1};
    b->in = *in;
    *in = (struct lafs_input){.fd = -1, .file_size = -1};
    st = read_all(b, err);
    if (st != LAFS_OK) {
        bin_close(&b->base);
        return st;
    }
    *out = &b->base;
    return LAFS_OK;
}
