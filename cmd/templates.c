#include "cmd/templates.h"

#include <math.h>

#include "base/mem.h"
#include "cmd/cli.h"
#include "cmd/printing.h"

enum { NAMED = 20 };

void templates_check(const struct templates_options *o)
{
    if (!o->templates && (o->unit_norm || o->face_scores || o->no_face_score))
        cli_misuse("--unit-norm, --face-scores and --no-face-score need --templates");
    if (o->face_scores && o->no_face_score) cli_misuse("--face-scores and --no-face-score exclude each other");
}

lafs_status templates_report_missing(const struct lafs_embset *set, const struct lafs_wanted *w, const char *first_key,
                                     const char *file, struct lafs_err *err)
{
    int64_t missing = w->photos->count - w->found, named = 0;
    if (w->found == 0) {
        if (set->seen == 0) return lafs_fail(err, LAFS_FAILED, "the input holds no embeddings");
        if (set->bad)
            return lafs_fail(err, LAFS_FAILED, "none of the %lld photos of '%s' has an embedding that can be compared",
                             (long long)w->photos->count, file);
        return lafs_fail(
            err, LAFS_FAILED,
            "none of the %lld photos of '%s' is in the input: it wants keys like '%s', the input has '%s'%s",
            (long long)w->photos->count, file, lafs_strset_at(w->photos, 0), first_key,
            set->faces ? " (lafs-detect --best keeps the photo's key)" : "");
    }
    for (int64_t i = 0; i < w->photos->count; i++) {
        if (w->row[i] >= 0) continue;
        if (named < NAMED || cli.verbose) cli_warn("missing: '%s'", lafs_strset_at(w->photos, i));
        named++;
    }
    if (named > NAMED && !cli.verbose) cli_warn("missing: %lld more (-v names them)", (long long)(named - NAMED));
    if (missing && set->faces)
        cli_warn("%lld keys of the input end in -f0, -f1 ..: lafs-detect --best keeps the photo's key",
                 (long long)set->faces);
    return LAFS_OK;
}

/* Detector scores of the images, or NULL: all 1. */
static lafs_status face_weights(const struct templates_options *o, const struct lafs_ijb_images *im,
                                const struct lafs_wanted *w, const struct lafs_embset *set, float **out,
                                struct lafs_err *err)
{
    float *photo = NULL, *weight = NULL;
    int64_t without = 0;
    lafs_status st;
    *out = NULL;
    if (o->no_face_score) return LAFS_OK;
    LAFS_TRY_GOTO(st, lafs_alloc(&photo, (size_t)im->photos.count, sizeof *photo, err), done);
    LAFS_TRY_GOTO(st, lafs_alloc(&weight, (size_t)im->count, sizeof *weight, err), done);
    if (o->face_scores) LAFS_TRY_GOTO(st, lafs_ijb_scores_read(o->face_scores, &im->photos, photo, err), done);
    else
        for (int64_t i = 0; i < im->photos.count; i++)
            photo[i] = w->row[i] >= 0 ? set->score[w->row[i]] : NAN;
    for (int64_t i = 0; i < im->photos.count; i++) {
        without += isnan(photo[i]) && w->row[i] >= 0;
        if (isinf(photo[i])) {
            st = lafs_fail(err, LAFS_FAILED, "'%s': the detector score is not finite", lafs_strset_at(&im->photos, i));
            goto done;
        }
    }
    if (without == w->found && !o->face_scores) {
        cli_warn("no record has the field 'score': images are not weighted");
    } else if (without) {
        st = lafs_fail(err, LAFS_FAILED, "%s without a detector score (--no-face-score does without)",
                       counted(without, "images").text);
    } else {
        for (int64_t i = 0; i < im->count; i++) weight[i] = isnan(photo[im->photo[i]]) ? 0 : photo[im->photo[i]];
        *out = weight;
        weight = NULL;
    }
done:
    lafs_free(photo);
    lafs_free(weight);
    return st;
}

lafs_status templates_make(struct lafs_templates *t, const struct templates_options *o,
                           const struct lafs_ijb_images *im, const struct lafs_wanted *w, struct lafs_embset *set,
                           struct lafs_err *err)
{
    float *weight = NULL;
    int64_t *row = NULL;
    lafs_status st;
    LAFS_TRY_GOTO(st, face_weights(o, im, w, set, &weight, err), done);
    LAFS_TRY_GOTO(st, lafs_alloc(&row, (size_t)im->count, sizeof *row, err), done);
    for (int64_t i = 0; i < im->count; i++) row[i] = w->row[im->photo[i]];
    LAFS_TRY_GOTO(st, lafs_templates_build(t, lafs_embset_data(set), (int)set->dim, row, weight, im->template_id,
                                           im->media_id, im->count, o->unit_norm, err), done);
    lafs_buf_release(&set->data);
done:
    lafs_free(weight);
    lafs_free(row);
    return st;
}
