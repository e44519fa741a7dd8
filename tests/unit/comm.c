/* One process of several, the others played by a table of the test's: what each of them brings is written down before.
 * Real ones are in tests/cli/train-ranks*.sh. */
#include "tests/test.h"

#include "compute/backend.h"
#include "compute/comm.h"

enum { SIZE = 4, OWN = 1 };

/* The others. */
static struct {
    int32_t status[SIZE];
    lafs_status gather; /* what gathering returns */
    int gathered, exchanged, told_by, closed, ended;
} others;

static lafs_status gather(void *all, size_t each, struct lafs_err *err)
{
    others.gathered++;
    if (others.gather != LAFS_OK) return lafs_fail(err, others.gather, "nobody came");
    for (int i = 0; i < SIZE; i++)
        if (i != OWN) memcpy((char *)all + (size_t)i * each, &others.status[i], sizeof *others.status);
    return LAFS_OK;
}
static lafs_status exchange(const void *send, void *recv, size_t each, struct lafs_err *err)
{
    (void)err;
    others.exchanged++;
    memcpy(recv, send, SIZE * each);
    return LAFS_OK;
}
static lafs_status broadcast(void *data, size_t bytes, int root, struct lafs_err *err)
{
    (void)err;
    others.told_by = root;
    if (root != OWN) snprintf(data, bytes, "what %d says", root);
    return LAFS_OK;
}
static void end_all(int status) { others.ended = status; }
static void leave(void) { others.closed++; }

static struct lafs_comm start(void)
{
    static const struct lafs_comm_ops ops = {.version = LAFS_COMM_VERSION, .gather = gather, .exchange = exchange,
                                             .broadcast = broadcast, .abort = end_all, .close = leave};
    memset(&others, 0, sizeof others);
    others.told_by = -1;
    return (struct lafs_comm){.ops = &ops, .rank = OWN, .size = SIZE, .local_size = SIZE};
}

/* All bring these; what comes of it, and who tells. */
static void check_agreed(const int32_t brought[SIZE], lafs_status want, int by, const char *message)
{
    struct lafs_comm c = start();
    struct lafs_err e = {.msg = ""};
    memcpy(others.status, brought, sizeof others.status);
    lafs_status own = (lafs_status)brought[OWN];
    if (own != LAFS_OK) lafs_fail(&e, own, "what %d says", OWN);
    CHECK_INT(lafs_comm_agree(&c, own, &e), want);
    CHECK_INT(others.told_by, by);
    CHECK_INT(c.agreed, want != LAFS_OK);
    CHECK_INT(c.alone, 0);
    CHECK_STR(e.msg, message);
    if (want != LAFS_OK) CHECK_INT(e.status, want);
    CHECK_INT(lafs_comm_agree(&c, LAFS_USAGE, NULL), LAFS_USAGE);
    CHECK_INT(others.gathered, want == LAFS_OK ? 2 : 1); /* nobody is asked after a failure */
}

TEST(agreement)
{
    const lafs_status OK = LAFS_OK, BAD = LAFS_FAILED, USE = LAFS_USAGE, CUT = LAFS_CUT;
    check_agreed((int32_t[]){OK, OK, OK, OK}, OK, -1, "");
    check_agreed((int32_t[]){OK, OK, OK, BAD}, BAD, 3, "process 3 of 4: what 3 says");
    check_agreed((int32_t[]){USE, OK, OK, OK}, USE, 0, "process 0 of 4: what 0 says");
    check_agreed((int32_t[]){OK, BAD, USE, OK}, BAD, 1, "process 1 of 4: what 1 says");
    check_agreed((int32_t[]){USE, BAD, OK, OK}, USE, 0, "process 0 of 4: what 0 says");
    check_agreed((int32_t[]){BAD, BAD, BAD, BAD}, BAD, 0, "what 0 says");
    /* Who waited in vain did so for one that failed. */
    check_agreed((int32_t[]){CUT, OK, OK, BAD}, BAD, 3, "process 3 of 4: what 3 says");
    check_agreed((int32_t[]){BAD, OK, CUT, OK}, BAD, 0, "process 0 of 4: what 0 says");
    check_agreed((int32_t[]){CUT, BAD, CUT, CUT}, BAD, 1, "what 1 says");
    check_agreed((int32_t[]){CUT, OK, CUT, OK}, CUT, 0, "process 0 of 4: what 0 says");
}

TEST(agreement_with_more)
{
    struct lafs_comm c = start();
    struct lafs_err e;
    struct { int32_t status, more; } all[SIZE] = {[OWN] = {77, 5}};
    REQUIRE_OK(lafs_comm_agree_on(&c, LAFS_OK, all, sizeof *all, &e), &e);
    CHECK(all[OWN].status == LAFS_OK && all[OWN].more == 5);
}

TEST(those_who_do_not_come)
{
    struct lafs_comm c = start();
    struct lafs_err e;
    others.gather = LAFS_FAILED;
    CHECK_INT(lafs_comm_agree(&c, LAFS_OK, &e), LAFS_FAILED);
    CHECK_STR(e.msg, "nobody came");
    CHECK(c.alone && !c.agreed);
    CHECK_INT(lafs_comm_agree(&c, LAFS_USAGE, &e), LAFS_USAGE);
    CHECK_INT(others.gathered, 1);
    c = start(); /* one's own failure counts for more */
    others.gather = LAFS_FAILED;
    lafs_fail(&e, LAFS_USAGE, "my own");
    CHECK_INT(lafs_comm_agree(&c, LAFS_USAGE, &e), LAFS_USAGE);
    CHECK_STR(e.msg, "my own");
    CHECK(c.alone);
    lafs_comm_abort(&c, 9);
    CHECK_INT(others.ended, 9);
}

TEST(alone)
{
    struct lafs_comm c = start(), single = {.size = 1};
    CHECK(lafs_comm_alone(&c, LAFS_OK) == LAFS_OK && !c.alone);
    c.agreed = 1;
    CHECK(lafs_comm_alone(&c, LAFS_CUT) == LAFS_CUT && !c.alone);
    c.agreed = 0;
    CHECK(lafs_comm_alone(&c, LAFS_CUT) == LAFS_CUT && c.alone);
    CHECK(lafs_comm_alone(&single, LAFS_CUT) == LAFS_CUT && !single.alone);
    lafs_comm_abort(&single, 1);
    lafs_comm_close(&c);
    CHECK(others.closed == 1 && !c.ops && c.size == 1 && c.local_size == 1);
}

TEST(nobody_else)
{
    struct lafs_comm c = start(), silent = lafs_comm_silent(&c);
    struct lafs_err e;
    int part[SIZE] = {1, 2, 3, 4}, to[SIZE] = {0};
    REQUIRE_OK(lafs_comm_gather(NULL, part, sizeof *part, &e), &e);
    REQUIRE_OK(lafs_comm_broadcast(NULL, part, sizeof part, 0, &e), &e);
    REQUIRE_OK(lafs_comm_exchange(NULL, part, to, 2 * sizeof *part, &e), &e);
    CHECK(to[0] == 1 && to[1] == 2 && to[2] == 0);
    CHECK(lafs_comm_rank(&silent) == OWN && lafs_comm_size(&silent) == SIZE);
    REQUIRE_OK(lafs_comm_gather(&silent, part, sizeof *part, &e), &e);
    REQUIRE_OK(lafs_comm_broadcast(&silent, part, sizeof part, 0, &e), &e);
    REQUIRE_OK(lafs_comm_exchange(&silent, part + 2, to, sizeof *part, &e), &e);
    REQUIRE_OK(lafs_comm_agree(&silent, LAFS_OK, &e), &e);
    CHECK(to[0] == 1 && part[0] == 1 && !others.gathered && !others.exchanged && others.told_by == -1);
    REQUIRE_OK(lafs_comm_exchange(&c, part, to, sizeof *part, &e), &e);
    CHECK(to[3] == 4 && others.exchanged == 1);
}

/* -- linked devices -- */

static struct {
    lafs_status can, open;
    int opened, closed;
} link_;
static lafs_status link_id(struct lafs_dev *d, void *id, struct lafs_err *err)
{
    (void)d, (void)id;
    return link_.can == LAFS_OK ? LAFS_OK : lafs_fail(err, link_.can, "no cable");
}
static lafs_status link_open(struct lafs_dev *d, const void *id, int rank, int size,
                             struct lafs_err *err)
{
    (void)d, (void)id;
    link_.opened += rank == OWN && size == SIZE;
    return link_.open == LAFS_OK ? LAFS_OK : lafs_fail(err, link_.open, "no light");
}
static lafs_status link_gather(struct lafs_dev *d, void *all, size_t each, struct lafs_err *err)
{
    (void)d, (void)all, (void)each;
    return lafs_fail(err, LAFS_CUT, "waited in vain");
}
static void link_close(struct lafs_dev *d) { (void)d, link_.closed++; }

/* come: whether the others do. */
static struct lafs_comm linked_of(lafs_status come, const char *how, lafs_status can, lafs_status open,
                                  lafs_status want, const char *why)
{
    static const struct lafs_ops ops = {.name = "wired", .link_id = link_id, .link_open = link_open,
                                        .link_gather = link_gather, .link_close = link_close};
    static const struct lafs_backend b = {.ops = &ops};
    struct lafs_comm c = start();
    others.gather = come;
    struct lafs_err reason, e = {.msg = ""};
    memset(&link_, 0, sizeof link_);
    link_.can = can, link_.open = open;
    CHECK_INT(lafs_comm_link(&c, &b, how, &reason, &e), want);
    CHECK_STR(reason.msg, why);
    CHECK_INT(lafs_comm_linked(&c, &b), !*why && strcmp(how, "mpi"));
    if (want != LAFS_OK) CHECK(strstr(e.msg, why) != NULL);
    return c;
}

static struct lafs_comm linked(const char *how, lafs_status can, lafs_status open, lafs_status want, const char *why)
{
    return linked_of(LAFS_OK, how, can, open, want, why);
}

TEST(links)
{
    struct lafs_comm c = linked("auto", LAFS_OK, LAFS_OK, LAFS_OK, "");
    CHECK(link_.opened == 1 && link_.closed == 0);
    struct lafs_err e;
    CHECK_INT(lafs_comm_link_gather(&c, NULL, 0, &e), LAFS_FAILED); /* another's failure would be told instead of CUT */
    CHECK(c.alone && e.status == LAFS_FAILED);
    lafs_comm_close(&c);
    CHECK(link_.closed == 1 && others.closed == 1);
    linked("mpi", LAFS_OK, LAFS_OK, LAFS_OK, "");
    CHECK(link_.opened == 0);
    c = linked("auto", LAFS_FAILED, LAFS_OK, LAFS_OK, "process 1 of 4: no cable");
    CHECK(link_.opened == 0 && !c.agreed && !c.alone);
    c = linked("auto", LAFS_OK, LAFS_FAILED, LAFS_OK, "process 1 of 4: no light");
    CHECK(link_.opened == 1 && link_.closed == 1 && !c.agreed);
    c = linked("nccl", LAFS_FAILED, LAFS_OK, LAFS_FAILED, "process 1 of 4: no cable");
    CHECK(c.agreed && !c.link);
    c = linked("nccl", LAFS_OK, LAFS_CUT, LAFS_FAILED, "process 1 of 4: no light"); /* of a program it is a failure */
    CHECK(c.agreed && !c.link);
    c = linked_of(LAFS_FAILED, "auto", LAFS_OK, LAFS_OK, LAFS_FAILED, "nobody came");
    CHECK(c.alone && !c.link && link_.opened == 0 && others.gathered == 1); /* nobody is asked again */
    CHECK(!lafs_comm_linked(NULL, NULL));
}

TEST_MAIN(agreement, agreement_with_more, those_who_do_not_come, alone, nobody_else, links)
