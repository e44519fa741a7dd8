/* What the programs that follow IJB's protocols share: embeddings of images to templates. */
#ifndef LAFS_CMD_TEMPLATES_H
#define LAFS_CMD_TEMPLATES_H

#include "eval/embset.h"
#include "eval/metrics.h"
#include "eval/pairs.h"

struct templates_options {
    const char *templates;   /* --templates: image, template, media */
    const char *face_scores; /* --face-scores, or NULL */
    int no_face_score, unit_norm;
};
#define CLI_TEMPLATES(o) \
    {"templates", 0, CLI_STRING, &(o).templates, "FILE", "IJB: template and media of each image"}, \
    {"unit-norm", 0, CLI_FLAG, &(o).unit_norm, NULL, "IJB: divide each image's embedding by its norm"}, \
    {"face-scores", 0, CLI_STRING, &(o).face_scores, "FILE", \
     "IJB: detector scores of the images, instead of the field score"}, \
    {"no-face-score", 0, CLI_FLAG, &(o).no_face_score, NULL, "IJB: do not weight images by their detector score"}
/* Misuse where the options contradict each other. */
void templates_check(const struct templates_options *o);

/* Names the wanted photos that were not in the input; LAFS_FAILED when none was. first_key: of the input; file: where
 * the photos are named. */
lafs_status templates_report_missing(const struct lafs_embset *set, const struct lafs_wanted *w, const char *first_key,
                                     const char *file, struct lafs_err *err);
/* Templates of the images, weighted as the options say. The set's embeddings are released: templates are all that is
 * needed from here on. */
lafs_status templates_make(struct lafs_templates *t, const struct templates_options *o,
                           const struct lafs_ijb_images *im, const struct lafs_wanted *w, struct lafs_embset *set,
                           struct lafs_err *err);

#endif
