/* A shared library that is no plugin. */
extern int lafs_test_nothing;
int lafs_test_nothing;
