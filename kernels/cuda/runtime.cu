/* The CUDA runtime: device, stream, memory, copies. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/cuda/dev.cuh"

static cudaStream_t stream_of(struct lafs_dev *d) { return (cudaStream_t)d->stream; }

/* The driver is not part of the toolkit: where there is none, the runtime's own words would blame its version. */
static lafs_status driver_there(struct lafs_err *err)
{
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
    if (!driver) return lafs_fail(err, LAFS_FAILED, "there is no NVIDIA driver here: %s", dlerror());
    dlclose(driver);
    return LAFS_OK;
}

static lafs_status runtime_fail(struct lafs_err *err, const char *what, cudaError_t e)
{
    return lafs_fail(err, LAFS_FAILED, "%s: %s", what, cudaGetErrorString(e));
}

lafs_status runtime_open(struct lafs_dev *d, const char *arg, struct lafs_err *err)
{
    int count = 0, driver = 0, runtime = 0;
    const int number = *arg ? (int)strtol(arg, NULL, 10) : 0;
    cudaDeviceProp prop;
    cudaStream_t stream;
    LAFS_TRY(driver_there(err));
    cudaError_t e = cudaGetDeviceCount(&count);
    if (e != cudaSuccess) return runtime_fail(err, "no GPU can be used", e);
    if (number >= count)
        return lafs_fail(err, LAFS_FAILED, "there is no GPU %d; there are %d, from 0 on", number, count);
    if ((e = cudaGetDeviceProperties(&prop, number)) != cudaSuccess) return runtime_fail(err, "GPU", e);
    if (prop.major < 8)
        return lafs_fail(err, LAFS_FAILED, "GPU %d, %s, is of compute capability %d.%d; 8.0 is the least", number,
                         prop.name, prop.major, prop.minor);
    d->number = number;
    d->most_shared = prop.sharedMemPerBlockOptin;
    d->processors = prop.multiProcessorCount;
    if ((e = cudaSetDevice(number)) != cudaSuccess) return runtime_fail(err, "GPU", e);
    if ((e = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking)) != cudaSuccess)
        return runtime_fail(err, "stream", e);
    d->stream = stream;
    if ((e = cudaHostAlloc((void **)&d->stage.p, (size_t)STAGES * STAGE_SIZE, cudaHostAllocDefault)) != cudaSuccess)
        return runtime_fail(err, "host memory for copies", e);
    for (int i = 0; i < STAGES; i++) {
        cudaEvent_t mark;
        if ((e = cudaEventCreateWithFlags(&mark, cudaEventDisableTiming)) != cudaSuccess)
            return runtime_fail(err, "event", e);
        d->mark[i] = mark;
    }
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    /* No number: processes compare what they compute on. */
    snprintf(d->text, sizeof d->text, "cuda, %s, compute capability %d.%d, CUDA %d.%d, driver for %d.%d", prop.name,
             prop.major, prop.minor, runtime / 1000, runtime % 1000 / 10, driver / 1000, driver % 1000 / 10);
    return LAFS_OK;
}

static void check(struct lafs_dev *d, const char *what, cudaError_t e)
{
    if (e == cudaSuccess) return;
    cudaGetLastError(); /* it is told here, not by the next launch */
    dev_failed(d, what, cudaGetErrorString(e));
}

void runtime_use(struct lafs_dev *d) { check(d, "choosing the GPU", cudaSetDevice(d->number)); }

/* Nobody is left to be told of a failure: what failed before has been. */
void runtime_close(struct lafs_dev *d)
{
    if (!d->stream) return;
    (void)cudaSetDevice(d->number);
    (void)cudaStreamSynchronize(stream_of(d));
    for (int i = 0; i < STAGES; i++)
        if (d->mark[i]) (void)cudaEventDestroy((cudaEvent_t)d->mark[i]);
    if (d->stage.p) (void)cudaFreeHost(d->stage.p);
    (void)cudaStreamDestroy(stream_of(d));
    (void)cudaGetLastError();
}

/* Kept for what the runtime takes when a kernel or a product runs first: code, local memory. Not measured. */
enum { KEPT = 256 << 20 };

lafs_status runtime_memory(struct lafs_dev *d, size_t *available, size_t *all, struct lafs_err *err)
{
    runtime_use(d);
    const cudaError_t e = cudaMemGetInfo(available, all);
    if (e != cudaSuccess) {
        cudaGetLastError(); /* it is told here, not by the next launch */
        return runtime_fail(err, "memory", e);
    }
    *available -= *available < KEPT ? *available : KEPT;
    return LAFS_OK;
}

lafs_status runtime_alloc(struct lafs_dev *d, void **out, size_t size, struct lafs_err *err)
{
    size_t available = 0, all = 0;
    *out = NULL;
    runtime_use(d);
    const cudaError_t e = cudaMalloc(out, size ? size : 1);
    if (e == cudaSuccess) return LAFS_OK;
    *out = NULL;
    cudaGetLastError(); /* it is told here, not by the next launch */
    if (e != cudaErrorMemoryAllocation) return runtime_fail(err, "memory", e);
    if (cudaMemGetInfo(&available, &all) != cudaSuccess) cudaGetLastError();
    return lafs_fail(err, LAFS_FAILED,
                     "out of GPU memory: %.1f MiB are wanted, %.1f of %.1f MiB are free",
                     (double)size / 0x1p20, (double)available / 0x1p20, (double)all / 0x1p20);
}

void runtime_free(struct lafs_dev *d, void *p)
{
    if (!p) return;
    runtime_use(d);
    check(d, "freeing memory", cudaFree(p));
}

void runtime_send(struct lafs_dev *d, void *to, const void *from, size_t size)
{
    runtime_use(d);
    check(d, "upload", cudaMemcpyAsync(to, from, size, cudaMemcpyHostToDevice, stream_of(d)));
}
void runtime_mark(struct lafs_dev *d, int stage)
{
    runtime_use(d);
    check(d, "event", cudaEventRecord((cudaEvent_t)d->mark[stage], stream_of(d)));
}
void runtime_await(struct lafs_dev *d, int stage)
{
    runtime_use(d);
    check(d, "event", cudaEventSynchronize((cudaEvent_t)d->mark[stage]));
}
void runtime_download(struct lafs_dev *d, void *to, const void *from, size_t size)
{
    runtime_use(d);
    if (size) check(d, "download", cudaMemcpyAsync(to, from, size, cudaMemcpyDeviceToHost, stream_of(d)));
    runtime_wait(d);
}
void runtime_copy(struct lafs_dev *d, void *to, const void *from, size_t size)
{
    runtime_use(d);
    if (size) check(d, "copy", cudaMemcpyAsync(to, from, size, cudaMemcpyDeviceToDevice, stream_of(d)));
}
void runtime_zero(struct lafs_dev *d, void *p, size_t size)
{
    runtime_use(d);
    if (size) check(d, "zero", cudaMemsetAsync(p, 0, size, stream_of(d)));
}
int runtime_busy(struct lafs_dev *d)
{
    runtime_use(d);
    const cudaError_t e = cudaStreamQuery(stream_of(d));
    if (e == cudaErrorNotReady) {
        cudaGetLastError(); /* that is no failure */
        return 1;
    }
    check(d, "a kernel", e);
    return 0;
}
void runtime_wait(struct lafs_dev *d)
{
    runtime_use(d);
    check(d, "a kernel", cudaStreamSynchronize(stream_of(d)));
}

/* -- recordings: CUDA graphs -- */

/* No failure here is told: what cannot be recorded is done. */
static int done(cudaError_t e)
{
    if (e == cudaSuccess) return 1;
    cudaGetLastError();
    return 0;
}

int runtime_record(struct lafs_dev *d, struct lafs_recording *r)
{
    runtime_use(d);
    return done(cudaHostAlloc((void **)&r->kept, KEPT_UPLOADS, cudaHostAllocDefault)) &&
           done(cudaStreamBeginCapture(stream_of(d), cudaStreamCaptureModeThreadLocal));
}

int runtime_recorded(struct lafs_dev *d, struct lafs_recording *r)
{
    cudaGraph_t graph = NULL;
    cudaGraphExec_t made = NULL;
    runtime_use(d);
    if (!done(cudaStreamEndCapture(stream_of(d), &graph))) return 0;
    const int ok = !r->failed && done(cudaGraphInstantiateWithFlags(&made, graph, 0));
    (void)done(cudaGraphDestroy(graph));
    r->graph = made;
    return ok;
}

void runtime_replay(struct lafs_dev *d, struct lafs_recording *r)
{
    runtime_use(d);
    check(d, "a recording", cudaGraphLaunch((cudaGraphExec_t)r->graph, stream_of(d)));
}

void runtime_forget(struct lafs_dev *d, struct lafs_recording *r)
{
    runtime_use(d);
    if (r->graph) check(d, "a recording", cudaGraphExecDestroy((cudaGraphExec_t)r->graph));
    if (r->kept) check(d, "a recording", cudaFreeHost(r->kept));
}
