#include "tests/test.h"

#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/isa.h"
#include "compute/backend.h"

/* The directory of a test plugin: ../plugin/NAME beside this program's. */
static const char *plugin_dir(const char *name)
{
    static char path[4200];
    char self[4000];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n < 0) abort();
    self[n] = '\0';
    char *slash = strrchr(self, '/');
    if (slash) *slash = '\0';
    snprintf(path, sizeof path, "%s/../plugin/%s", self, name);
    return path;
}

static int has(const char *text, const char *part)
{
    if (strstr(text, part)) return 1;
    fprintf(stderr, "'%s' lacks '%s'\n", text, part);
    return 0;
}

/* Opens "cuda" with $LAFS_BACKEND_PATH = path; 1 if it fails with `part` in the message. */
static int fails(const char *path, const char *part)
{
    struct lafs_backend b;
    struct lafs_err e = {0};
    if (path) setenv("LAFS_BACKEND_PATH", path, 1);
    else unsetenv("LAFS_BACKEND_PATH");
    lafs_status st = lafs_backend_open(&b, "cuda", NULL, NULL, &e);
    int ok = st == LAFS_FAILED && b.ops == NULL && has(e.msg, "cannot use device 'cuda': ") && has(e.msg, part);
    lafs_backend_close(&b);
    return ok;
}

TEST(built_in)
{
    struct lafs_backend b;
    struct lafs_err e;
    const char *why = "";
    REQUIRE_OK(lafs_backend_open(&b, "cpu", NULL, &why, &e), &e);
    CHECK(why == NULL);
    CHECK_STR(b.ops->name, "cpu");
    CHECK(b.ops->version == LAFS_BACKEND_VERSION);
    CHECK(strlen(b.ops->describe(b.dev)) > 3);
    lafs_backend_close(&b);
    CHECK(b.ops == NULL);
    REQUIRE_OK(lafs_backend_open(&b, "ref", NULL, NULL, &e), &e);
    CHECK_STR(b.ops->name, "ref");
    lafs_backend_close(&b);
    static const char *const bad[] = {"",        "CPU",     "cpu:0",      "cuda:", "cuda:x",
                                      "cuda:1x", "cuda:-1", "cuda:99999", "metal"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_INT(lafs_backend_open(&b, bad[i], NULL, NULL, &e), LAFS_USAGE);
        CHECK(has(e.msg, "there is no device"));
    }
}

TEST(every_slot_is_filled)
{
    /* A NULL in the table would be a crash in a model. These two have no memory of their own, record nothing, are linked
     * with nobody, and store activations in fp32. */
    const size_t own = offsetof(struct lafs_ops, memory) / sizeof(void *);
    const size_t behind = offsetof(struct lafs_ops, scale) / sizeof(void *);
    const size_t link = offsetof(struct lafs_ops, link_id) / sizeof(void *);
    const size_t behind_link = offsetof(struct lafs_ops, link_close) / sizeof(void *) + 1;
    const size_t bf16 = offsetof(struct lafs_ops, bf16) / sizeof(void *);
    const size_t list = offsetof(struct lafs_ops, hit_list) / sizeof(void *); /* of hits that lie elsewhere */
    const void *const *ref = (const void *const *)(const void *)&lafs_ref_ops, *const *cpu =
                                                                                   (const void *const *)(const void *)
                                                                                       lafs_cpu_ops();
    for (size_t i = 1; i < sizeof lafs_ref_ops / sizeof *ref; i++) {
        if ((i >= own && i < behind) || (i >= link && i < behind_link) || i == bf16) continue;
        if (!ref[i]) FAIL_("slot %zu of ref is empty", i);
        if (!cpu[i] && i != list) FAIL_("slot %zu of cpu is empty", i);
    }
}

/* $LAFS_CPU caps what the CPU backend uses; a name that does not exist, or that this machine lacks, is told. */
TEST(cpu_levels)
{
    static const char *const name[] = {"plain", "avx2", "avx512", "amx", "dotprod"};
    struct lafs_backend b;
    struct lafs_err e;
    char part[64];
    int have = 1, dotprod = 0;
#if defined __aarch64__
    dotprod = lafs_isa_level() == LAFS_ISA_DOTPROD;
#endif
    for (int i = 0; i < 5; i++) {
        setenv("LAFS_CPU", name[i], 1);
        lafs_status st = lafs_backend_open(&b, "cpu", NULL, NULL, &e);
        have = have && st == LAFS_OK;
        snprintf(part, sizeof part, st == LAFS_OK ? "cpu, %s" : "LAFS_CPU: this machine cannot use '%s'", name[i]);
        CHECK_INT(st, have || (i == 4 && dotprod) ? LAFS_OK : LAFS_USAGE);
        CHECK(has(st == LAFS_OK ? b.ops->describe(b.dev) : e.msg, part));
        if (st != LAFS_OK) CHECK(has(e.msg, "it has plain"));
        lafs_backend_close(&b);
    }
    setenv("LAFS_CPU", "sse9", 1);
    CHECK_INT(lafs_backend_open(&b, "cpu", NULL, NULL, &e), LAFS_USAGE);
    CHECK(has(e.msg, "LAFS_CPU: there is no 'sse9'; this machine has plain"));
    CHECK_INT(lafs_backend_open(&b, "auto", NULL, NULL, &e), LAFS_USAGE);
    unsetenv("LAFS_CPU");
    REQUIRE_OK(lafs_backend_open(&b, "cpu", NULL, NULL, &e), &e);
    CHECK(!strstr(b.ops->describe(b.dev), "LAFS_CPU"));
    lafs_backend_close(&b);
}

TEST(precisions)
{
    enum lafs_precision p = LAFS_PRECISION_FP32;
    CHECK(lafs_precision_by_name("bf16", &p) && p == LAFS_PRECISION_BF16);
    CHECK(lafs_precision_by_name("bf16x3", &p) && p == LAFS_PRECISION_BF16X3);
    CHECK(lafs_precision_by_name("fp32", &p) && p == LAFS_PRECISION_FP32);
    CHECK(!lafs_precision_by_name("fp16", &p) && !lafs_precision_by_name("", &p));
}

TEST(memory)
{
    struct lafs_backend b;
    struct lafs_err e;
    REQUIRE_OK(lafs_backend_open(&b, "cpu", NULL, NULL, &e), &e);
    static const size_t size[] = {0, 1, 255, 4096, (2 << 20) + 1, 5 << 20};
    for (size_t i = 0; i < sizeof size / sizeof *size; i++) {
        void *p;
        REQUIRE_OK(b.ops->alloc(b.dev, &p, size[i], &e), &e);
        CHECK((size_t)p % 256 == 0);
        size_t set = 0;
        for (size_t k = 0; k < size[i]; k++) set += ((unsigned char *)p)[k] != 0;
        CHECK_INT(set, 0);
        b.ops->free(b.dev, p);
    }
    void *p = &b;
    CHECK_INT(b.ops->alloc(b.dev, &p, SIZE_MAX - 100, &e), LAFS_FAILED);
    CHECK(p == NULL);
    lafs_backend_close(&b);
}

TEST(plugin_not_there)
{
    CHECK(fails(NULL, "there is no lafs-cuda.so in "));
    CHECK(fails("", "there is no lafs-cuda.so in "));
    CHECK(fails("/nonexistent", "there is no lafs-cuda.so in /nonexistent or in "));
    /* Never from the working directory, by whatever name. */
    CHECK(fails(".", "'.' is not an absolute directory"));
    CHECK(fails("/nonexistent:lib", "'lib' is not an absolute directory"));
    CHECK(chdir(plugin_dir("good")) == 0);
    CHECK(fails(NULL, "there is no lafs-cuda.so in "));
}

TEST(plugin_no_good)
{
    char dir[] = "/tmp/lafs-test-XXXXXX", file[64];
    CHECK(mkdtemp(dir) != NULL);
    snprintf(file, sizeof file, "%s/lafs-cuda.so", dir);
    FILE *f = fopen(file, "w");
    REQUIRE(f);
    fputs("no library", f);
    fclose(f);
    CHECK(fails(dir, "cannot load '/tmp/lafs-test-"));
    unlink(file);
    rmdir(dir);
    CHECK(fails(plugin_dir("empty"), "has no lafs_plugin_ops"));
    CHECK(fails(plugin_dir("newer"), "has interface version 50, this program needs 9"));
    CHECK(fails(plugin_dir("old"), "has interface version 8, this program needs 9"));
    CHECK(fails(plugin_dir("none"), "gives no table of functions"));
    CHECK(fails(plugin_dir("lacking"), "lafs_test_nobody_has"));
    char endless[PATH_MAX - sizeof "lafs-cuda.so" + 1] = "/"; /* with the file's name PATH_MAX: one too many */
    memset(endless + 1, 'd', sizeof endless - 2);
    CHECK(fails(endless, "the name of the directory '/ddd"));
}

TEST(automatic_without)
{
    struct lafs_backend b;
    struct lafs_err e;
    const char *why = NULL;
    unsetenv("LAFS_BACKEND_PATH");
    REQUIRE_OK(lafs_backend_open(&b, "auto", NULL, &why, &e), &e);
    CHECK_STR(b.ops->name, "cpu");
    CHECK(why && has(why, "cpu: there is no lafs-cuda.so in "));
    lafs_backend_close(&b);
    REQUIRE_OK(lafs_backend_open(&b, "auto", NULL, NULL, &e), &e);
    lafs_backend_close(&b);
}

/* Last: a plugin once loaded stays. */
TEST(plugin_good)
{
    struct lafs_backend b;
    struct lafs_err e;
    const char *why = NULL;
    char path[5000];
    snprintf(path, sizeof path, ":/nonexistent::%s", plugin_dir("good")); /* empty ones are none */
    setenv("LAFS_BACKEND_PATH", path, 1);
    REQUIRE_OK(lafs_backend_open(&b, "cuda:0", NULL, NULL, &e), &e);
    CHECK_STR(b.ops->describe(b.dev), "a device made for tests");
    lafs_backend_close(&b);
    CHECK_INT(lafs_backend_open(&b, "cuda:1", NULL, NULL, &e), LAFS_FAILED);
    CHECK_STR(e.msg, "cannot use device 'cuda:1': there is one device only");
    CHECK_INT(lafs_backend_open(&b, "cuda:9999", NULL, NULL, &e), LAFS_FAILED);
    REQUIRE_OK(lafs_backend_open(&b, "auto", NULL, &why, &e), &e);
    CHECK(why && has(why, "cuda: a device made for tests"));
    lafs_backend_close(&b);
}

TEST_MAIN(built_in, every_slot_is_filled, cpu_levels, precisions, memory, plugin_not_there, plugin_no_good,
          automatic_without, plugin_good)
