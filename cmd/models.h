/* Where models are looked for that no option names. */
#ifndef LAFS_CMD_MODELS_H
#define LAFS_CMD_MODELS_H

/* The path of the model file `name` in one of: the directories of $LAFS_MODEL_PATH (colon-separated),
 * ../share/lafs/models beside the program's directory (where `make install` puts models), and share/models of the
 * source tree that the program was built in. NULL: in none of them. The path lives until the next call. */
const char *find_model(const char *name);

#endif
