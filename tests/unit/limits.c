#include "base/limits.h"

#include <ftw.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/pool.h"
#include "tests/test.h"

static char root[64];

/* root + path, with the folders that it takes. */
static void put(const char *path, const char *text)
{
    char name[512];
    snprintf(name, sizeof name, "%s%s", root, path);
    for (char *s = name + 1; (s = strchr(s, '/')); *s++ = '/') {
        *s = 0;
        mkdir(name, 0777);
    }
    FILE *f = fopen(name, "w");
    if (!f || fputs(text, f) < 0 || fclose(f)) FAIL_("cannot write %s", name);
}

static int drop(const char *path, const struct stat *sb, int type, struct FTW *at)
{
    (void)sb, (void)type, (void)at;
    return remove(path);
}
static void begin(void)
{
    strcpy(root, "/tmp/lafs-limits-XXXXXX");
    if (!mkdtemp(root)) FAIL_("mkdtemp");
}
static void end(void) { nftw(root, drop, 16, FTW_DEPTH | FTW_PHYS); }

TEST(no_groups_no_quota)
{
    begin();
    CHECK_NEAR(lafs_processor_quota(root), 0, 0);
    put("/proc/self/cgroup", "0::/\nnonsense\n:\n");
    put("/proc/self/mountinfo", "nonsense\n1 2 0:3 / / rw - ext4 /dev/sda rw\n9 - cgroup2\n");
    CHECK_NEAR(lafs_processor_quota(root), 0, 0);
    end();
}

TEST(version_2_has_the_least_of_a_group_and_those_around_it)
{
    begin();
    put("/proc/self/cgroup", "0::/user.slice/job one/step\n");
    put("/proc/self/mountinfo",
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
    put("/sys/fs/cgroup/user.slice/job one/step/cpu.max", "max 100000\n");
    CHECK_NEAR(lafs_processor_quota(root), 0, 0);
    put("/sys/fs/cgroup/user.slice/cpu.max", "400000 100000\n");
    CHECK_NEAR(lafs_processor_quota(root), 4, 0);
    put("/sys/fs/cgroup/user.slice/job one/cpu.max", "75000 50000\n");
    CHECK_NEAR(lafs_processor_quota(root), 1.5, 0);
    put("/sys/fs/cgroup/user.slice/job one/step/cpu.max", "900000 100000\n");
    CHECK_NEAR(lafs_processor_quota(root), 1.5, 0);
    put("/sys/fs/cgroup/other/cpu.max", "1000 100000\n");
    CHECK_NEAR(lafs_processor_quota(root), 1.5, 0);
    put("/sys/fs/cgroup/user.slice/job one/cpu.max", "many 50000\n");
    CHECK_NEAR(lafs_processor_quota(root), 4, 0);
    end();
}

/* A container has a group as its root: the path is from there, or from the machine's, or leads out. */
TEST(a_container_sees_its_own_group_as_the_root)
{
    static const struct { const char *group, *shown; } seen[] = {
        {"/", "/"}, {"/docker/a1", "/docker/a1"}, {"/docker/a1", "/docker/b2"}, {"/../../job", "/"},
        {"/docker/a12", "/docker/a1"}};
    for (size_t i = 0; i < sizeof seen / sizeof *seen; i++) {
        char text[256];
        begin();
        snprintf(text, sizeof text, "12:pids:/x\n11:cpuset:/y\n4:cpu,cpuacct:%s\n0::/\n", seen[i].group);
        put("/proc/self/cgroup", text);
        snprintf(text, sizeof text,
                 "40 30 0:30 /y /sys/fs/cgroup/cpuset ro - cgroup cgroup rw,cpuset\n"
                 "41 30 0:31 %s /sys/fs/cgroup/cpu,cpuacct ro,nosuid master:9 - cgroup cgroup rw,cpu,cpuacct\n",
                 seen[i].shown);
        put("/proc/self/mountinfo", text);
        put("/sys/fs/cgroup/cpuset/y/cpu.cfs_quota_us", "1\n");
        put("/sys/fs/cgroup/cpuset/y/cpu.cfs_period_us", "1\n");
        put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
        put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
        CHECK_NEAR(lafs_processor_quota(root), 0, 0);
        put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "250000\n");
        CHECK_NEAR(lafs_processor_quota(root), 2.5, 0);
        end();
    }
}

TEST(memory_of_either_version)
{
    begin();
    put("/proc/self/cgroup", "3:memory:/job\n2:cpu:/\n0::/job\n");
    put("/proc/self/mountinfo",
        "41 30 0:31 / /m rw - cgroup cgroup rw,memory\n42 30 0:32 / /v2 rw - cgroup2 none rw\n");
    put("/m/memory.limit_in_bytes", "9223372036854771712\n");
    put("/m/job/memory.limit_in_bytes", "4294967296\n");
    CHECK_NEAR(lafs_memory_quota(root), 4294967296.0, 0);
    put("/v2/job/memory.max", "max\n");
    CHECK_NEAR(lafs_memory_quota(root), 4294967296.0, 0);
    put("/v2/job/memory.max", "1073741824\n");
    CHECK_NEAR(lafs_memory_quota(root), 1073741824.0, 0);
    CHECK_NEAR(lafs_processor_quota(root), 0, 0);
    const double all = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    CHECK(lafs_memory() > 1e7 && lafs_memory() <= all);
    put("/v2/job/memory.max", "10000000\n");
    CHECK_NEAR(lafs_memory_by(root), 1e7, 0);
    put("/m/job/memory.limit_in_bytes", "9223372036854771712\n");
    put("/v2/job/memory.max", "max\n");
    CHECK_NEAR(lafs_memory_by(root), all, 0);
    end();
}

TEST(of_both_versions_the_smaller)
{
    begin();
    put("/proc/self/cgroup", "1:cpu:/a\n0::/b\n");
    put("/proc/self/mountinfo", "41 30 0:31 / /v1 rw - cgroup cgroup rw,cpu\n42 30 0:32 / /v2 rw - cgroup2 none rw\n");
    put("/v1/a/cpu.cfs_quota_us", "300000\n");
    put("/v1/a/cpu.cfs_period_us", "100000\n");
    CHECK_NEAR(lafs_processor_quota(root), 3, 0);
    put("/v2/b/cpu.max", "200000 100000\n");
    CHECK_NEAR(lafs_processor_quota(root), 2, 0);
    put("/v1/a/cpu.cfs_quota_us", "100000\n");
    CHECK_NEAR(lafs_processor_quota(root), 1, 0);
    end();
}

TEST(a_part_of_a_processor_is_one)
{
    static const struct { const char *quota; int most; } is[] = {
        {"20000 100000\n", 1}, {"100000 100000\n", 1}, {"100001 100000\n", 2}, {"1e12 100000\n", CPU_SETSIZE}};
    const int allowed = lafs_processors_allowed();
    begin();
    put("/proc/self/cgroup", "0::/\n");
    put("/proc/self/mountinfo", "42 30 0:32 / /v2 rw - cgroup2 none rw\n");
    for (size_t i = 0; i < sizeof is / sizeof *is; i++) {
        put("/v2/cpu.max", is[i].quota);
        CHECK_INT(lafs_processors_by(root), is[i].most < allowed ? is[i].most : allowed);
    }
    end();
}

/* As taskset and batch systems do it. */
TEST(threads_are_as_many_as_the_process_may_use)
{
    cpu_set_t all, one;
    struct lafs_pool *pool;
    struct lafs_err err;
    REQUIRE(sched_getaffinity(0, sizeof all, &all) == 0);
    const double quota = lafs_processor_quota("");
    CHECK_INT(lafs_processors_allowed(), CPU_COUNT(&all));
    CHECK(lafs_processors() >= 1 && lafs_processors() <= CPU_COUNT(&all));
    if (quota <= 0) CHECK_INT(lafs_processors(), CPU_COUNT(&all));
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++)
        if (CPU_ISSET(i, &all)) CPU_SET(i, &one);
    REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
    CHECK_INT(lafs_processors(), 1);
    REQUIRE_OK(lafs_pool_new(&pool, 0, &err), &err);
    CHECK_INT(lafs_pool_threads(pool), 1);
    lafs_pool_free(pool);
    REQUIRE(sched_setaffinity(0, sizeof all, &all) == 0);
    if (quota > 0) SKIP("processor time is limited here: of more threads nothing can be said");
    REQUIRE_OK(lafs_pool_new(&pool, 0, &err), &err);
    CHECK_INT(lafs_pool_threads(pool), CPU_COUNT(&all));
    lafs_pool_free(pool);
}

TEST_MAIN(no_groups_no_quota, version_2_has_the_least_of_a_group_and_those_around_it,
          a_container_sees_its_own_group_as_the_root, memory_of_either_version, of_both_versions_the_smaller,
          a_part_of_a_processor_is_one, threads_are_as_many_as_the_process_may_use)
