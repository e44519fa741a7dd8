/* Cutting patches, as in kernels/ref/patch.c: a block has a landmark, a thread values of its patch. The gradient of the
 * images is gathered: a thread has a pixel and looks through the image's landmarks, in their order. */
#include "kernels/cuda/dev.cuh"

struct corner {
    int64_t x, y; /* pixel of v00 for offset (0, 0) */
    float fx, fy;
};

/* 0 when no sample of the patch can touch the image (NaN included). */
DEVICE int locate(const float *lm, int side, int p, struct corner *c)
{
    const float far = (float)side + (float)p;
    if (!(lm[0] > -far && lm[0] < 2 * far && lm[1] > -far && lm[1] < 2 * far)) return 0;
    const float x = lm[0] - 0.5f, y = lm[1] - 0.5f, x0 = floorf(x), y0 = floorf(y);
    *c = {(int64_t)x0, (int64_t)y0, x - x0, y - y0};
    return 1;
}
DEVICE float pixel(const float *image, int side, int64_t x, int64_t y, int ch)
{
    return x >= 0 && x < side && y >= 0 && y < side ? image[(y * side + x) * 3 + ch] : 0;
}
/* The sample at place k of a token: its pixel v00 and channel. */
DEVICE void sample_of(const struct corner *c, int p, int transposed, int k, int64_t *x, int64_t *y, int *ch)
{
    const int major = k / 3 / p, minor = k / 3 % p;
    *x = c->x + (transposed ? major : minor) - p / 2;
    *y = c->y + (transposed ? minor : major) - p / 2;
    *ch = k % 3;
}

KERNEL patch_cut_kernel(int64_t n, const int64_t *off, int side, int p, int transposed, const float *images,
                        const float *landmarks, float *tokens)
{
    const int64_t row = block_x(), seq = sequence_of(n, off, row);
    const int width = p * p * 3;
    const float *image = images + seq * side * side * 3;
    struct corner c = {0, 0, 0, 0};
    const int inside = locate(landmarks + 2 * row, side, p, &c);
    for (int k = thread_index(); k < width; k += block_threads()) {
        int64_t x, y;
        int ch;
        float v = 0;
        if (inside) {
            sample_of(&c, p, transposed, k, &x, &y, &ch);
            const float top = (1 - c.fx) * pixel(image, side, x, y, ch) + c.fx * pixel(image, side, x + 1, y, ch);
            const float low =
                (1 - c.fx) * pixel(image, side, x, y + 1, ch) + c.fx * pixel(image, side, x + 1, y + 1, ch);
            v = (1 - c.fy) * top + c.fy * low;
        }
        tokens[row * width + k] = v;
    }
}
static void patch_cut(struct lafs_dev *d, const struct lafs_seqs *s, int side, int p, int transposed,
                      const float *images, const float *landmarks, float *tokens)
{
    LAUNCH(d, patch_cut_kernel, grid_of(lafs_seqs_rows(s)), 192, 0, s->n, s->dev_off, side, p, transposed, images,
           landmarks, tokens);
}

KERNEL patch_landmarks_kernel(int64_t n, const int64_t *off, int side, int p, int transposed, const float *images,
                              const float *landmarks, const float *dtokens, float *dlandmarks)
{
    const int64_t row = block_x(), seq = sequence_of(n, off, row);
    const int width = p * p * 3;
    const float *image = images + seq * side * side * 3;
    float *room = shared_memory<float>(), gx = 0, gy = 0;
    struct corner c = {0, 0, 0, 0};
    const int inside = locate(landmarks + 2 * row, side, p, &c);
    for (int k = thread_index(); inside && k < width; k += block_threads()) {
        int64_t x, y;
        int ch;
        sample_of(&c, p, transposed, k, &x, &y, &ch);
        const float g = dtokens[row * width + k];
        const float v00 = pixel(image, side, x, y, ch), v01 = pixel(image, side, x + 1, y, ch);
        const float v10 = pixel(image, side, x, y + 1, ch), v11 = pixel(image, side, x + 1, y + 1, ch);
        gx += g * ((1 - c.fy) * (v01 - v00) + c.fy * (v11 - v10));
        gy += g * ((1 - c.fx) * (v10 - v00) + c.fx * (v11 - v01));
    }
    gx = block_sum(gx, room);
    gy = block_sum(gy, room);
    if (thread_index() == 0) dlandmarks[2 * row] = gx, dlandmarks[2 * row + 1] = gy;
}
KERNEL patch_images_kernel(int64_t n, const int64_t *off, int side, int p, int transposed, const float *landmarks,
                           const float *dtokens, float *dimages)
{
    const int64_t e = global_index(), area = (int64_t)side * side, seq = e / area, y = e % area / side, x = e % side;
    if (seq >= n) return;
    float sum[3] = {0, 0, 0};
    for (int64_t r = off[seq]; r < off[seq + 1]; r++) {
        struct corner c;
        if (!locate(landmarks + 2 * r, side, p, &c)) continue;
        /* The samples whose v00 is this pixel, or the one left of it, above it, or both. */
        for (int corner = 0; corner < 4; corner++) {
            const int64_t a = x - corner % 2 - c.x + p / 2, b = y - corner / 2 - c.y + p / 2;
            if (a < 0 || a >= p || b < 0 || b >= p) continue;
            const float weight = (corner % 2 ? c.fx : 1 - c.fx) * (corner / 2 ? c.fy : 1 - c.fy);
            const float *g = dtokens + r * p * p * 3 + (transposed ? a * p + b : b * p + a) * 3;
            for (int ch = 0; ch < 3; ch++) sum[ch] += g[ch] * weight;
        }
    }
    for (int ch = 0; ch < 3; ch++) dimages[e * 3 + ch] = sum[ch];
}
static void patch_cut_bwd(struct lafs_dev *d, const struct lafs_seqs *s, int side, int p, int transposed,
                          const float *images, const float *landmarks, const float *dtokens, float *dlandmarks,
                          float *dimages)
{
    enum { BLOCK = 192 };
    if (dlandmarks)
        LAUNCH(d, patch_landmarks_kernel, grid_of(lafs_seqs_rows(s)), BLOCK, BLOCK / WARP * sizeof(float), s->n,
               s->dev_off, side, p, transposed, images, landmarks, dtokens, dlandmarks);
    if (dimages)
        LAUNCH(d, patch_images_kernel, grid_for(s->n * side * side), THREADS, 0, s->n, s->dev_off, side, p, transposed,
               landmarks, dtokens, dimages);
}

KERNEL grid_cut_kernel(int64_t n, int side, int p, const float *images, float *tokens)
{
    const int64_t e = global_index();
    const int across = side / p, width = p * p * 3;
    if (e >= n * across * across * width) return;
    const int64_t token = e / width, image = token / (across * across), row = token / across % across,
                  column = token % across;
    const int64_t k = e % width, y = row * p + k / (p * 3), x = column * p * 3 + k % (p * 3);
    tokens[e] = images[(image * side + y) * side * 3 + x];
}
static void grid_cut(struct lafs_dev *d, int64_t n, int side, int p, const float *images, float *tokens)
{
    const int64_t across = side / p;
    LAUNCH(d, grid_cut_kernel, grid_for(n * across * across * p * p * 3), THREADS, 0, n, side, p, images, tokens);
}

void ops_patch(struct lafs_ops *ops)
{
    ops->patch_cut = patch_cut;
    ops->patch_cut_bwd = patch_cut_bwd;
    ops->grid_cut = grid_cut;
}
