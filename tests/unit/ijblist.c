#include "tests/test.h"

#include "eval/ijblist.h"

static lafs_status parse(struct lafs_ijb_list *l, const char *text, struct lafs_err *err)
{
    return lafs_ijb_list_parse(l, text, strlen(text), "g.csv", err);
}

TEST(lists_of_the_published_form)
{
    struct lafs_err err = {0};
    struct lafs_ijb_list l;
    REQUIRE_OK(parse(&l, "TEMPLATE_ID,SUBJECT_ID,FILENAME,SIGHTING_ID,FACE_X\n"
                         "30,7,img/1.png,3,1.5\n30,7,\"frames, many/2.png\",3,\n\n12, 9 ,img/3.png,4,2\r\n", &err), &err);
    CHECK(l.count == 2);
    CHECK(l.template_id[0] == 12 && l.subject_id[0] == 9 && l.template_id[1] == 30 && l.subject_id[1] == 7);
    lafs_ijb_list_release(&l);
    REQUIRE_OK(parse(&l, "\xef\xbb\xbfSUBJECT_ID,TEMPLATE_ID\n7,30", &err), &err);
    CHECK(l.count == 1 && l.template_id[0] == 30 && l.subject_id[0] == 7);
    lafs_ijb_list_release(&l);
}

TEST(what_is_malformed_is_named)
{
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"", "'g.csv' is empty"},
        {"\n\n", "'g.csv' is empty"},
        {"TEMPLATE_ID,SUBJECT_ID\n", "'g.csv' lists no templates"},
        {"1,2\n", "'g.csv' line 1: expected names of columns, TEMPLATE_ID and SUBJECT_ID among them"},
        {"TEMPLATE_ID,SUBJECT_ID\n1,2\n3\n", "'g.csv' line 3: TEMPLATE_ID or SUBJECT_ID is no number"},
        {"TEMPLATE_ID,SUBJECT_ID\n1,-2\n", "'g.csv' line 2: TEMPLATE_ID or SUBJECT_ID is no number"},
        {"TEMPLATE_ID,SUBJECT_ID\n1,1234567890123456789\n", "'g.csv' line 2: TEMPLATE_ID or SUBJECT_ID is no number"},
        {"TEMPLATE_ID,SUBJECT_ID\n1,2\n5,5\n1,3\n", "'g.csv' lines 2 and 4: template 1 is of two subjects"},
        {"TEMPLATE_ID,SUBJECT_ID,X\n1,2,\"a\n", "'g.csv' line 2: a quote is not closed"},
        {"TEMPLATE_ID,SUBJECT_ID,X\n1,2,\"a\"b\n", "'g.csv' line 2: text behind a closing quote"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct lafs_err err = {0};
        struct lafs_ijb_list l;
        CHECK(parse(&l, bad[i].text, &err) == LAFS_FAILED);
        CHECK_STR(err.msg, bad[i].message);
        CHECK(l.count == 0 && !l.template_id);
    }
}

TEST_MAIN(lists_of_the_published_form, what_is_malformed_is_named)
