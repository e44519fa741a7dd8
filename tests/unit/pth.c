/* Checkpoints: what is written is read; files that PyTorch 1.13 has written (tests/fuzz/corpus/pth); broken ones. */
#include "tests/test.h"

#include <unistd.h>

#include "base/buf.h"
#include "format/pth.h"

static struct lafs_err err;

/* Opens a file of the corpus; the bytes stay in b. */
static lafs_status parse(struct lafs_pth **p, struct lafs_buf *b, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "tests/fuzz/corpus/pth/%s", name);
    *p = NULL;
    lafs_buf_init(b);
    LAFS_TRY(lafs_buf_read_file(b, path, 1 << 20, &err));
    return lafs_pth_parse(p, b->data, b->size, &err);
}

static const struct lafs_st_tensor *find(const struct lafs_pth *p, const char *name)
{
    for (int i = 0; i < p->count; i++)
        if (!strcmp(p->tensor[i].name, name)) return &p->tensor[i];
    return NULL;
}

/* Values of a tensor of any type, by the reader of safetensors. */
static int values(const struct lafs_pth *p, const char *name, int n, const float *want)
{
    const struct lafs_st_tensor *t = find(p, name);
    struct lafs_st *st;
    float got[64];
    if (!t || t->count != n || !t->data || lafs_st_wrap(&st, t, 1, NULL, 0, &err) != LAFS_OK) return 0;
    int good = lafs_st_read_f32(st, name, t->shape, t->ndim, got, &err) == LAFS_OK &&
               (n == 0 || !memcmp(got, want, (size_t)n * sizeof *got));
    lafs_st_close(st);
    return good;
}

/* torch.arange(24.).reshape(4, 6) and what shares its storage: transposed, cut out; one type after the other. */
static void check_odd(const char *file, int legacy)
{
    static const char *const row[] = {"half", "bf", "d", "i64", "i32", "i16", "i8", "u8"};
    float whole[24], turned[24], permuted[24];
    struct lafs_pth *p;
    struct lafs_buf b;
    for (int i = 0; i < 24; i++) whole[i] = (float)i;
    for (int i = 0; i < 24; i++) turned[i] = whole[i % 4 * 6 + i / 4];
    for (int i = 0; i < 24; i++) permuted[i] = whole[i / 3 % 2 * 12 + i % 3 * 4 + i / 6]; /* (4, 2, 3) of (2, 3, 4) */
    REQUIRE_OK(parse(&p, &b, file), &err);
    CHECK_INT(p->legacy, legacy);
    CHECK_INT(p->count, 17);
    REQUIRE_OK(lafs_pth_load(p, NULL, &err), &err);
    CHECK(values(p, "whole", 24, whole));
    CHECK(values(p, "t", 24, turned));
    CHECK(values(p, "perm", 24, permuted));
    CHECK(values(p, "slice", 4, (const float[]){8, 9, 14, 15}));
    CHECK(values(p, "param", 6, whole + 6));
    CHECK(values(p, "expand", 4, (const float[]){1, 1, 1, 1}));
    CHECK(values(p, "bool", 6, (const float[]){0, 0, 0, 0, 1, 1}));
    CHECK(values(p, "scalar", 1, (const float[]){5}));
    CHECK(values(p, "empty", 0, NULL));
    CHECK(find(p, "empty")->ndim == 2 && find(p, "scalar")->ndim == 0);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) CHECK(values(p, row[i], 6, whole));
    CHECK_INT(find(p, "bf")->dtype, LAFS_BF16);
    CHECK_INT(find(p, "i8")->dtype, LAFS_I8);
    lafs_pth_close(p);
    lafs_buf_release(&b);
}

TEST(types_strides_and_shared_storages)
{
    check_odd("odd", 0);
    check_odd("odd-legacy", 1);
}

/* Files of PyTorch 2.15. */
TEST(files_of_pytorch_2)
{
    static const float w[] = {0, 1, 2, 3, 4, 5}, turned[] = {0, 3, 1, 4, 2, 5};
    struct lafs_pth *p;
    struct lafs_buf b;
    REQUIRE_OK(parse(&p, &b, "torch2"), &err);
    CHECK_INT(p->count, 5);
    REQUIRE_OK(lafs_pth_load(p, NULL, &err), &err);
    CHECK(values(p, "_orig_mod.w", 6, w) && values(p, "bf", 6, w) && values(p, "half", 6, w));
    CHECK(values(p, "t", 6, turned) && values(p, "p", 3, w + 3));
    lafs_pth_close(p);
    lafs_buf_release(&b);
    CHECK_INT(parse(&p, &b, "negated"), LAFS_FAILED);
    CHECK(strstr(err.msg, "tensor 'w' is a view whose values are yet to be negated") != NULL);
    lafs_buf_release(&b);
}

TEST(names_are_paths_and_scalars_are_metadata)
{
    static const char *const file[] = {"lafs", "lafs-legacy"};
    for (int i = 0; i < 2; i++) {
        struct lafs_pth *p;
        struct lafs_buf b;
        REQUIRE_OK(parse(&p, &b, file[i]), &err);
        CHECK(find(p, "student.module.backbone.cls_token") && find(p, "teacher.backbone.loss.weight"));
        CHECK(find(p, "optimizer.state.0.exp_avg") && find(p, "dino_loss.center"));
        CHECK_INT(p->metas, 2); /* not the options of the program, nor what lies deeper */
        CHECK_STR(p->meta[0].key, "epoch");
        CHECK_STR(p->meta[0].value, "41");
        CHECK_STR(p->meta[1].value, "h\xc3\xa9");
        /* Only what is wanted is fetched. */
        unsigned char want[128] = {0};
        REQUIRE(p->count < 128);
        want[1] = 1;
        REQUIRE_OK(lafs_pth_load(p, want, &err), &err);
        for (int k = 0; k < p->count; k++) CHECK((p->tensor[k].data != NULL) == (k == 1));
        lafs_pth_close(p);
        lafs_buf_release(&b);
    }
}

TEST(what_is_written_is_read)
{
    static const float f[] = {1, -2, 3.5f, 0, 5, 6};
    static const int64_t big = 1ll << 40;
    const struct lafs_st_tensor t[] = {
        {.name = "a.weight", .dtype = LAFS_F32, .ndim = 2, .shape = {2, 3}, .count = 6, .data = f},
        {.name = "a.half", .dtype = LAFS_BF16, .ndim = 1, .shape = {12}, .count = 12, .data = f},
        {.name = "n", .dtype = LAFS_I64, .count = 1, .data = &big},
        {.name = "none", .dtype = LAFS_F64, .ndim = 4, .shape = {2, 0, 1ll << 40, 1ll << 40}, .data = f},
    };
    const struct lafs_st_meta meta[] = {{"architecture", "x\n\"y\""}, {"empty", ""}};
    char path[] = "/tmp/lafs-pth.XXXXXX";
    struct lafs_buf b, again;
    struct lafs_pth *p;
    int fd = mkstemp(path);
    REQUIRE(fd >= 0);
    close(fd);
    lafs_buf_init(&b);
    lafs_buf_init(&again);
    REQUIRE_OK(lafs_pth_write(path, t, 4, meta, 2, &err), &err);
    REQUIRE_OK(lafs_buf_read_file(&b, path, 1 << 20, &err), &err);
    REQUIRE_OK(lafs_pth_parse(&p, b.data, b.size, &err), &err);
    CHECK_INT(p->count, 4);
    CHECK_INT(p->metas, 2);
    CHECK_STR(p->meta[0].value, "x\n\"y\"");
    REQUIRE_OK(lafs_pth_load(p, NULL, &err), &err);
    for (int i = 0; i < 4; i++) {
        const struct lafs_st_tensor *r = find(p, t[i].name);
        REQUIRE(r && r->dtype == t[i].dtype && r->ndim == t[i].ndim && r->count == t[i].count);
        CHECK(!memcmp(r->shape, t[i].shape, (size_t)r->ndim * sizeof *r->shape));
        CHECK(!memcmp(r->data, t[i].data, (size_t)r->count * lafs_dtype_size(r->dtype)));
    }
    lafs_pth_close(p);
    /* Storages lie at multiples of 64 bytes. */
    const unsigned char *at = memmem(b.data, b.size, f, sizeof f);
    CHECK(at && (at - b.data) % 64 == 0);
    REQUIRE_OK(lafs_pth_write(path, t, 4, meta, 2, &err), &err);
    REQUIRE_OK(lafs_buf_read_file(&again, path, 1 << 20, &err), &err);
    CHECK(b.size == again.size && !memcmp(b.data, again.data, b.size));
    /* Cut anywhere, it is refused. */
    for (size_t n = 0; n < b.size; n += 7) {
        unsigned char *exact = malloc(n + 1);
        memcpy(exact, b.data, n);
        CHECK_INT(lafs_pth_parse(&p, exact, n, &err), LAFS_FAILED);
        free(exact);
    }
    const struct lafs_st_tensor odd = {.name = "u", .dtype = LAFS_U32, .ndim = 1, .shape = {1}, .count = 1, .data = f};
    CHECK_INT(lafs_pth_write(path, &odd, 1, NULL, 0, &err), LAFS_FAILED);
    CHECK_STR(err.msg, "tensor 'u': PyTorch has no type for U32");
    const struct lafs_st_tensor twice[] = {t[0], t[0]};
    CHECK_INT(lafs_pth_write(path, twice, 2, NULL, 0, &err), LAFS_FAILED);
    unlink(path);
    lafs_buf_release(&b);
    lafs_buf_release(&again);
}

static uint32_t u32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* The CRC-32 that the file states for a member, in its directory (46 bytes before the name, the last that is found). */
static uint32_t stated_crc(const struct lafs_buf *b, const char *name)
{
    uint32_t crc = 0;
    size_t n = strlen(name);
    for (size_t i = 46; i + n <= b->size; i++)
        if (!memcmp(b->data + i, name, n) && u32(b->data + i - 46) == 0x02014b50) crc = u32(b->data + i - 46 + 16);
    return crc;
}

TEST(checksums)
{
    static unsigned char long_one[100000];
    struct lafs_st_tensor t[] = {
        {.name = "known", .dtype = LAFS_U8, .ndim = 1, .shape = {9}, .count = 9, .data = "123456789"},
        {.name = "long", .dtype = LAFS_U8, .ndim = 1, .shape = {sizeof long_one}, .count = sizeof long_one,
         .data = long_one}};
    char path[] = "/tmp/lafs-pth.XXXXXX";
    struct lafs_buf b;
    struct lafs_pth *p;
    int fd = mkstemp(path);
    REQUIRE(fd >= 0);
    close(fd);
    lafs_buf_init(&b);
    for (size_t i = 0; i < sizeof long_one; i++) long_one[i] = (unsigned char)(i * i >> 5);
    REQUIRE_OK(lafs_pth_write(path, t, 2, NULL, 0, &err), &err);
    REQUIRE_OK(lafs_buf_read_file(&b, path, 1 << 20, &err), &err);
    unlink(path);
    CHECK_INT(stated_crc(&b, "archive/data/0"), 0xcbf43926); /* the check value that CRC-32 is published with */
    REQUIRE_OK(lafs_pth_parse(&p, b.data, b.size, &err), &err);
    REQUIRE_OK(lafs_pth_load(p, NULL, &err), &err);
    lafs_pth_close(p);
    /* A changed byte is found, in whichever record, and only when that is read. */
    static const struct {
        const char *bytes, *say;
    } flip[] = {{"123456789", "archive/data/0"}, {"long", "archive/data.pkl"}};
    for (int i = 0; i < 2; i++) {
        unsigned char *at = memmem(b.data, b.size, flip[i].bytes, strlen(flip[i].bytes));
        REQUIRE(at);
        *at ^= 4;
        lafs_status st = lafs_pth_parse(&p, b.data, b.size, &err);
        CHECK_INT(st, i == 0 ? LAFS_OK : LAFS_FAILED);
        if (st == LAFS_OK) {
            CHECK_INT(lafs_pth_load(p, NULL, &err), LAFS_FAILED);
            CHECK(strstr(err.msg, "the zip archive is damaged in 'archive/") != NULL);
        }
        CHECK(strstr(err.msg, flip[i].say) != NULL);
        lafs_pth_close(p);
        if (st == LAFS_OK) {
            REQUIRE_OK(lafs_pth_parse(&p, b.data, b.size, &err), &err);
            REQUIRE_OK(lafs_pth_load(p, (const unsigned char[]){0, 1}, &err), &err);
            lafs_pth_close(p);
        }
        *at ^= 4;
    }
    lafs_buf_release(&b);
}

/* Before 1.6 storages lie one behind the other: also those of tensors that have no name, of an option, of nobody. */
TEST(storages_that_no_name_leads_to)
{
    struct lafs_pth *p;
    struct lafs_buf b;
    REQUIRE_OK(parse(&p, &b, "legacy-others"), &err);
    CHECK_INT(p->count, 1);
    REQUIRE_OK(lafs_pth_load(p, NULL, &err), &err);
    CHECK(values(p, "w", 2, (const float[]){4, 5}));
    lafs_pth_close(p);
    lafs_buf_release(&b);
}

/* What comes before the dictionary where torch.save writes no zip. */
static const char head[] = "\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19." "\x80\2M\xe9\3."
                           "\x80\2}X\x0d\0\0\0little_endian\x88s.";

/* A tensor of storage "0", of four values, by the marked items of its shape and of its strides. */
static void put_tensor(struct lafs_buf *b, const char *name, const char *class, const char *view, const char *shape,
                       const char *stride)
{
    lafs_buf_printf(b, "V%s\nctorch._utils\n_rebuild_tensor_v2\n((Vstorage\nctorch\n%s\nV0\nVcpu\nI4\n%stQI0\n(%st(%st",
                    name, class, view, shape, stride);
    lafs_buf_puts(b, "\x89NtRs");
}

TEST(what_a_tensor_says_of_its_storage)
{
    static const float rows[] = {0, 1, 1, 2};
    static const struct {
        const char *class, *view, *say;
    } bad[] = {{"FloatStorage", "(V1\nI1\nI2\nt", "tensor 'v' is a view of a storage, as PyTorch wrote them before 0.4"},
               {"IntStorage", "N", "tensor 'v' contradicts another"}};
    struct lafs_pth *p;
    struct lafs_buf b;
    lafs_buf_init(&b);
    for (int i = 0; i < 3; i++) {
        lafs_buf_clear(&b);
        lafs_buf_put(&b, head, sizeof head - 1);
        lafs_buf_puts(&b, "\x80\2}Vlr\nF0.125\nsVbest\n\x88s");
        put_tensor(&b, "w", "FloatStorage", "N", "I2\nI1\nI2\n", "I1\nL9223372036854775807\nI1\n");
        if (i < 2) put_tensor(&b, "v", bad[i].class, bad[i].view, "I4\n", "I1\n");
        lafs_buf_puts(&b, ".\x80\2](V0\ne.");
        lafs_buf_put(&b, "\4\0\0\0\0\0\0\0", 8);
        for (int k = 0; k < 4; k++) lafs_buf_put(&b, &(float){(float)k}, sizeof(float));
        if (i < 2) {
            CHECK_INT(lafs_pth_parse(&p, b.data, b.size, &err), LAFS_FAILED);
            CHECK(strstr(err.msg, bad[i].say) != NULL);
        }
    }
    REQUIRE_OK(lafs_pth_parse(&p, b.data, b.size, &err), &err);
    CHECK_INT(p->metas, 2);
    CHECK_STR(p->meta[0].value, "0.125");
    CHECK_STR(p->meta[1].value, "true");
    REQUIRE_OK(lafs_pth_load(p, NULL, &err), &err);
    CHECK(values(p, "w", 4, rows)); /* the middle one's stride is never taken */
    lafs_pth_close(p);
    lafs_buf_release(&b);
}

TEST(many_entries_of_metadata)
{
    static struct lafs_st_meta meta[LAFS_PTH_MAX_METAS + 1];
    static char key[LAFS_PTH_MAX_METAS + 1][16];
    const struct lafs_st_tensor t = {.name = "t", .dtype = LAFS_U8, .ndim = 1, .shape = {1}, .count = 1, .data = "x"};
    char path[] = "/tmp/lafs-pth.XXXXXX";
    struct lafs_pth *p;
    struct lafs_buf b;
    lafs_buf_init(&b);
    lafs_buf_put(&b, head, sizeof head - 1);
    lafs_buf_puts(&b, "}");
    for (int i = 0; i < LAFS_PTH_MAX_METAS + 7; i++) lafs_buf_printf(&b, "Vk%d\nK\7s", i);
    lafs_buf_puts(&b, ".");
    REQUIRE_OK(lafs_pth_parse(&p, b.data, b.size, &err), &err);
    CHECK_INT(p->metas, LAFS_PTH_MAX_METAS);
    CHECK_INT(p->metas_left, 7);
    CHECK(!p->ours);
    CHECK_STR(p->meta[LAFS_PTH_MAX_METAS - 1].key, "k4095");
    lafs_pth_close(p);
    int fd = mkstemp(path);
    REQUIRE(fd >= 0);
    close(fd);
    for (int i = 0; i <= LAFS_PTH_MAX_METAS; i++) {
        snprintf(key[i], sizeof key[i], "m%d", i);
        meta[i] = (struct lafs_st_meta){key[i], "v"};
    }
    CHECK_INT(lafs_pth_write(path, &t, 1, meta, LAFS_PTH_MAX_METAS + 1, &err), LAFS_FAILED);
    REQUIRE_OK(lafs_pth_write(path, &t, 1, meta, LAFS_PTH_MAX_METAS, &err), &err);
    lafs_buf_clear(&b);
    REQUIRE_OK(lafs_buf_read_file(&b, path, 1 << 20, &err), &err);
    REQUIRE_OK(lafs_pth_parse(&p, b.data, b.size, &err), &err);
    CHECK_INT(p->metas, LAFS_PTH_MAX_METAS);
    CHECK(p->ours && p->metas_left == 0);
    lafs_pth_close(p);
    unlink(path);
    lafs_buf_release(&b);
}

TEST(broken_and_hostile)
{
    static const struct {
        const char *file, *say;
    } bad[] = {
        {"evil-reduce", "refused: it calls for os.system"},
        {"evil-stack-global", "refused: it calls for builtins.eval"},
        {"evil-inst", "refused: it calls for posix.system"},
        {"evil-obj", "refused: it calls for os.system"},
        {"evil-newobj", "refused: it calls for subprocess.Popen"},
        {"evil-build", "refused: it calls for __builtin__.exec"},
        {"evil-module", "refused: it calls for vit_pytorch.vit.ViT"},
        {"evil-nested", "refused: it calls for numpy.core.multiarray._reconstruct"},
        {"complex", "refused: it calls for torch.ComplexFloatStorage"},
        {"beyond", "tensor 'w' reaches beyond its storage"},
        {"stride-beyond", "tensor 'w' reaches beyond its storage"},
        {"negative", "tensor 'w' has no shape"},
        {"nine-dims", "tensor 'w' has too many dimensions"},
        {"contradicts", "tensor 'v' contradicts another"},
        {"big-endian", "another byte order"},
        {"no-pickle", "it has no data.pkl"},
        {"cut", "lacks the directory at its end"},
        {"nul-name", "odd name"},
    };
    static const struct {
        const char *file, *say;
    } later[] = {{"short", "storage '0' has 12 bytes, not 4 values of F32"},
                 {"missing", "tensor 'w' has no data"},
                 {"flipped", "the zip archive is damaged in 'archive/data/0': "},
                 {"flipped-deflated", "the zip archive is damaged in "},
                 {"overlap", "repeats its values too often"},
                 {"bomb", "'archive/data/0' unpacks to 67600000 bytes, out of proportion to the file"},
                 {"cut-legacy", "cut off"}};
    struct lafs_pth *p;
    struct lafs_buf b;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_INT(parse(&p, &b, bad[i].file), LAFS_FAILED);
        if (!strstr(err.msg, bad[i].say)) FAIL_("%s: '%s' does not say '%s'", bad[i].file, err.msg, bad[i].say);
        CHECK(!p);
        lafs_buf_release(&b);
    }
    for (size_t i = 0; i < sizeof later / sizeof *later; i++) {
        REQUIRE_OK(parse(&p, &b, later[i].file), &err);
        CHECK_INT(lafs_pth_load(p, NULL, &err), LAFS_FAILED);
        if (!strstr(err.msg, later[i].say)) FAIL_("%s: '%s' does not say '%s'", later[i].file, err.msg, later[i].say);
        lafs_pth_close(p);
        lafs_buf_release(&b);
    }
    REQUIRE_OK(parse(&p, &b, "deflated"), &err); /* nobody writes that, any zip tool makes it */
    REQUIRE_OK(lafs_pth_load(p, NULL, &err), &err);
    CHECK_INT(p->tensor[0].count, 400);
    lafs_pth_close(p);
    lafs_buf_release(&b);
}

TEST_MAIN(types_strides_and_shared_storages, files_of_pytorch_2, names_are_paths_and_scalars_are_metadata,
          what_is_written_is_read, checksums, storages_that_no_name_leads_to, what_a_tensor_says_of_its_storage,
          many_entries_of_metadata, broken_and_hostile)
