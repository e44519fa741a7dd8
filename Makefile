# lafs: photos of faces to a face recogniser. See README.md.
#
#   make            programs and libraries into build/<hash>/, linked from bin/; where there is mpicc (MPICC=no: not), the
#                   plugin for several processes, where there is nvcc (NVCC=no: not) that for GPUs
#   make demo       the main job on synthetic faces
#   make check      all tests (SAN=address,undefined or SAN=thread for sanitizers; T="json pth" runs those whose name
#                   holds json or pth;
#                   SHARED=DIR: also tests/real, on the real photos of DIR/data with the published detector of DIR/weights)
#   make check-interop   beside webdataset, msgpack, safetensors, PyTorch, onnxruntime, InsightFace (put into build/)
#   make check-cluster   several machines, which are networks of this one, under mpirun and Slurm (as root)
#   make check-arm64     what depends on the processor, built for arm64 and run by an emulator of it
#   make fuzz       every fuzz target for TIME=600 seconds (needs clang); F=json runs one
#   make soak       1 and 10 million records in little memory, to shards too (RECORDS="1000 1000000" for other numbers)
#   make soak-ijb   IJB-C's protocols at their true size through lafs-verify and lafs-search
#   make bench      speed of every op and stage, against the machine's measured peak; make bench-ops runs one program of
#                   tests/bench; PEER=1 times PyTorch beside it (PYTHON=python3), JSON=FILE says where the figures go
#   make check-gpu  what can be tested on a GPU only; make bench-gpu: the speed of its ops and of whole stages
#                   (PRECISION=bf16 SEQS=64; PEER=1, or compiled: PyTorch beside them);
#                   make pack-gpu: PACK=build/lafs-gpu.tar.gz, to do both on a machine without our packages
#   make install    prefix=/usr/local DESTDIR=; make uninstall, with the same, removes what it put there
#
# `make demo` and `make check` install missing packages on Debian; DEPS=no turns that off.

DESTDIR ?=
SAN ?=
DEPS ?= yes
T ?=
F ?=
TIME ?= 600
RECORDS ?= 1000000 10000000

CC ?= cc
# Sanitizers make much of what is unrolled: at -O2 one of kernels/cpu would take minutes, and the rest twice as long.
OPT ?= $(if $(SAN),-O1,-O3)
CFLAGS ?=
WARN := -Wall -Wextra -Wmissing-prototypes -Wstrict-prototypes -Wno-missing-field-initializers
ifdef CI
WARN += -Werror
endif
# How long gcc takes a text to be depends on how far it sees; -O3 is the judge.
WARN += $(if $(SAN),-Wno-format-truncation)
SANFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all -DLAFS_SAN -g1)
ALL_CFLAGS = -std=c11 -D_GNU_SOURCE $(OPT) -ffp-contract=off -fno-math-errno -pthread $(WARN) $(SANFLAGS) -I. -Ilib $(CFLAGS)
# Goals that install what is missing. A compiler comes before all that is asked of it here: its machine, version, libraries.
INSTALLS := $(filter deps check check-interop check-cluster check-arm64 demo,$(MAKECMDGOALS))
install_deps = CC='$(CC)' DEPS='$(DEPS)' tools/deps $(if $(filter check check-arm64,$(MAKECMDGOALS)),check,build)
ifeq ($(if $(INSTALLS),$(filter-out no,$(DEPS))$(shell command -v $(firstword $(CC)))),yes)
$(shell $(install_deps) >&2)
endif
MACHINE := $(shell $(CC) -dumpmachine 2>/dev/null | cut -d- -f1)
# gcc 12 for arm64 (Debian 12's) dies of some loops with fmax in them.
ifeq ($(MACHINE)-$(shell $(CC) -dumpversion 2>/dev/null | cut -d. -f1),aarch64-12)
ALL_CFLAGS += -fno-builtin-fmax -fno-builtin-fmin
endif
# Comparisons may be carried out for lanes that do not need them: no value depends on it, only which floating-point
# exceptions are flagged, which nothing of ours looks at. Without it gcc leaves loops with a choice in them (GELU, exp,
# dropout) scalar below AVX-512.
KERNEL_CFLAGS := -fno-trapping-math
# msgpack-c 6 has another name than those before.
MSGPACK = $(if $(findstring /,$(shell $(CC) -print-file-name=libmsgpack-c.so)),-lmsgpack-c,-lmsgpackc)
# What a program does not use it does not load.
LDLIBS = -Wl,--as-needed -ljpeg -lpng $(MSGPACK) -lm -ldl

# As many jobs as processors, unless the command line says otherwise.
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(shell nproc 2>/dev/null || echo 2)
endif

# Threads meet in lib/base/pool.c and above it: kernels see disjoint tiles (the op tests compare thread counts), and are
# not worth a check at every vector. Other sanitizers look at kernels/cpu in the tests that call the library; programs
# take it as it is (PROGRAM_LIB), which is five times as fast.
UNCHECKED := -fno-sanitize=all -O2
SAN_CPU := $(if $(filter thread,$(SAN)),$(UNCHECKED))

# Builds with different flags never mix: the directory is named by their hash.
HASH := $(shell printf '%s' '$(CC) $(shell $(CC) -dumpfullversion 2>/dev/null) $(ALL_CFLAGS) $(KERNEL_CFLAGS)$(SAN_CPU)' | cksum | cut -d' ' -f1)
B := build/$(HASH)

LIB_SRC := $(sort $(wildcard lib/*/*.c kernels/ref/*.c kernels/cpu/*.c))
CMD_SRC := $(sort $(wildcard cmd/lafs-*.c))
COMMON_SRC := $(filter-out $(CMD_SRC),$(sort $(wildcard cmd/*.c)))
# Tiles of AMX are emulated by AVX-512's intrinsics, and those by AVX2's.
X86_TEST_SRC := tests/ops/amx.c
TEST_SRC := $(filter-out $(if $(filter x86_64,$(MACHINE)),,$(X86_TEST_SRC)),$(sort $(wildcard tests/unit/*.c tests/ops/*.c tests/golden/*.c)))
FUZZ_SRC := $(filter-out tests/fuzz/replay.c,$(sort $(wildcard tests/fuzz/*.c)))

LIB_OBJ := $(LIB_SRC:%.c=$B/%.o)
COMMON_OBJ := $(COMMON_SRC:%.c=$B/%.o)
PROGRAMS := $(CMD_SRC:cmd/%.c=$B/%)
TESTS := $(TEST_SRC:%.c=$B/%)
REPLAYS := $(FUZZ_SRC:%.c=$B/%)
SHIM := $B/tests/inject/shim.so

.SECONDARY:
.PHONY: all
all: $B/complete $(PROGRAMS) bin

$B/kernels/%.o: ALL_CFLAGS += $(KERNEL_CFLAGS)
$B/kernels/cpu/%.o: ALL_CFLAGS += $(SAN_CPU)
# 512-bit vectors written out are passed in memory.
$(X86_TEST_SRC:%.c=$B/%.o): ALL_CFLAGS += -Wno-psabi
# libarchive is loaded at run time, under the name that a program linked with it would have.
$B/lib/format/archive.o: ALL_CFLAGS += -DLAFS_LIBARCHIVE='"$(or $(call soname,archive),libarchive.so.13)"'
soname = $(shell LC_ALL=C objdump -p "$$($(CC) -print-file-name=lib$1.so)" 2>/dev/null | sed -n 's/^ *SONAME *//p')

$B/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$B/liblafs.a: $(LIB_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

# An archive, so that each program takes only what it uses.
$B/libcmd.a: $(COMMON_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

# What programs and fuzz targets are linked with.
ifneq ($(filter-out thread,$(SAN)),)
UNCHECKED_OBJ := $(patsubst %.c,$B/unchecked/%.o,$(filter kernels/cpu/%,$(LIB_SRC)))
PROGRAM_LIB := $B/unchecked/liblafs.a
$B/unchecked/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(KERNEL_CFLAGS) $(UNCHECKED) -MMD -MP -c -o $@ $<
$(PROGRAM_LIB): $(UNCHECKED_OBJ) $(filter-out $(UNCHECKED_OBJ:$B/unchecked/%=$B/%),$(LIB_OBJ))
	@rm -f $@
	$(AR) rcs $@ $^
else
PROGRAM_LIB := $B/liblafs.a
endif

$B/lafs-%: $B/cmd/lafs-%.o $B/libcmd.a $(PROGRAM_LIB)
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(TESTS) $B/tests/torch/driver: $B/%: $B/%.o $B/libcmd.a $B/liblafs.a
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# bin/ holds links to the build made last: what shell scripts and people call.
.PHONY: bin
bin: $(PROGRAMS)
	@mkdir -p bin
	@for p in $(PROGRAMS); do ln -sfn ../$$p bin/$$(basename $$p); done

# -- packages --

.PHONY: deps
deps:
	@$(install_deps)
# Other goals install nothing, but say what is missing before a compiler does.
$B/complete:
	@CC='$(CC)' DEPS=no tools/deps build || { echo "make deps installs them on Debian" >&2; exit 1; }
	@mkdir -p $(@D)
	@touch $@
$(LIB_OBJ) $(COMMON_OBJ) $(CMD_SRC:%.c=$B/%.o): | $B/complete
ifneq ($(INSTALLS),)
$B/complete: | deps
$(LIB_OBJ) $(COMMON_OBJ) $(CMD_SRC:%.c=$B/%.o) $(TEST_SRC:%.c=$B/%.o) $(FUZZ_SRC:%.c=$B/%.o): | deps
endif

# -- the CUDA plugin: built where there is nvcc (NVCC=no: not), loaded at run time; see kernels/cuda/README.md --

NVCC ?= $(or $(shell command -v nvcc),$(wildcard /usr/local/cuda/bin/nvcc))
CUDA_HOME := $(patsubst %/bin/nvcc,%,$(shell readlink -f '$(NVCC)' 2>/dev/null))
CUDA_LIBDIR := $(firstword $(wildcard $(CUDA_HOME)/lib64 $(CUDA_HOME)/targets/x86_64-linux/lib $(CUDA_HOME)/targets/sbsa-linux/lib))
# Ampere, Hopper, and for what comes later the latter's PTX.
CUDA_ARCH ?= -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=[sm_90,compute_90]
NVCCFLAGS = -std=c++17 -O3 $(CUDA_ARCH) -Xcompiler -fPIC,-fvisibility=hidden,-ffp-contract=off,-Wall$(if $(CI),$(comma)-Werror) -I. -Ilib
comma := ,
CUDA_SRC := $(sort $(wildcard kernels/cuda/*.cu))
# What of the library the plugin brings along: it is not linked with the programs.
CUDA_LIB_SRC := lib/base/err.c lib/base/mem.c lib/base/rng.c lib/image/viewplan.c
PLUGIN := $(if $(filter-out no,$(NVCC)),$(if $(SAN),,$B/lafs-cuda.so))
all: $(PLUGIN)

# Pictures are the CPU's to the bit.
$B/cuda/kernels/cuda/render.cu.o: private NVCCFLAGS += -fmad=false
# What the plugin was compiled with: it is compiled again when that changes.
CUDA_FLAGS = $(NVCC) $(shell '$(NVCC)' --version 2>/dev/null | tail -n 1) $(NVCCFLAGS)
$B/cuda/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CUDA_FLAGS)' | cmp -s - $@ || echo '$(CUDA_FLAGS)' >$@
.PHONY: FORCE
FORCE:

$B/cuda/%.cu.o: %.cu $B/cuda/flags
	@mkdir -p $(@D)
	$(NVCC) $(NVCCFLAGS) -MMD -MP -c -o $@ $<
$B/cuda/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -fPIC -fvisibility=hidden -MMD -MP -c -o $@ $<
CUDA_OBJ := $(CUDA_SRC:%=$B/cuda/%.o) $(CUDA_LIB_SRC:%.c=$B/cuda/%.o)
$B/lafs-cuda.so: $(CUDA_OBJ)
	$(NVCC) -shared -cudart static -o $@ $^ -L'$(CUDA_LIBDIR)' -lcublasLt -ldl -Xlinker -rpath,'$(CUDA_LIBDIR)'

# -- the plugin for several processes: built where there is MPI's compiler (MPICC=no: not), loaded when mpirun or srun has
#    started more than one; see lib/compute/comm.h --

MPICC ?= $(or $(shell command -v mpicc),no)
MPI_PLUGIN := $(if $(filter-out no,$(MPICC)),$B/lafs-mpi.so)
all: $(MPI_PLUGIN)

# MPICC is asked for the flags of the MPI it belongs to: the compiler stays ours.
MPI_ARGS = $(filter-out cc gcc,$(shell $(MPICC) -show 2>/dev/null | cut -d' ' -f2-))
$B/mpi/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(filter-out -l% -L%,$(MPI_ARGS)) -fPIC -fvisibility=hidden -MMD -MP -c -o $@ $<
$B/lafs-mpi.so: $B/mpi/kernels/mpi/comm.o $B/mpi/lib/base/err.o
	$(CC) $(ALL_CFLAGS) -shared -o $@ $^ $(MPI_ARGS) -ldl

# -- tests --

.PHONY: tests
tests: $(TESTS)

# A fuzz target with a main of ours that replays the corpus.
$(REPLAYS): $B/%: $B/%.o $B/tests/fuzz/replay.o $B/libcmd.a $(PROGRAM_LIB)
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(SHIM): tests/inject/shim.c
	@mkdir -p $(@D)
	$(CC) -std=c11 -D_GNU_SOURCE -O1 -fPIC -shared $(WARN) -o $@ $< -ldl

# Plugins to load: tests/plugin/NAME.c is NAME/lafs-cuda.so.
PLUGINS := $(patsubst tests/plugin/%.c,$B/tests/plugin/%/lafs-cuda.so,$(wildcard tests/plugin/*.c))
$(PLUGINS): $B/tests/plugin/%/lafs-cuda.so: tests/plugin/%.c lib/compute/backend.h
	@mkdir -p $(@D)
	$(CC) -std=c11 -D_GNU_SOURCE -O1 -fPIC -shared $(WARN) -I. -Ilib -o $@ $<
$B/tests/unit/backend: | $(PLUGINS)

# Several processes without MPI: a plugin that meets in shared memory.
RANKS := $B/tests/ranks/lafs-mpi.so
$(RANKS): tests/ranks/shm.c tests/ranks/meet.h lib/compute/comm.h
	@mkdir -p $(@D)
	$(CC) -std=c11 -D_GNU_SOURCE -O1 -fPIC -shared $(WARN) -I. -Ilib -o $@ $<
# NCCL without GPUs: the simulated ones of those processes exchange by it.
NCCL := $B/tests/ranks/libnccl.so.2
$(NCCL): tests/ranks/nccl.c tests/ranks/meet.h tests/ranks/stream.h
	@mkdir -p $(@D)
	$(CC) -std=c11 -D_GNU_SOURCE -O1 -fPIC -shared $(WARN) -I. -o $@ $<

# 512-bit code and tiles on processors without them: the same sources over intrinsics written out, in the tests of ops, of
# what composes them, and of scores.
ifeq ($(MACHINE),x86_64)
EMULATED_OBJ := $(patsubst %.c,$B/emulated/%.o,lib/base/isa.c lib/eval/integers.c lib/eval/scores.c $(filter kernels/cpu/%,$(LIB_SRC)))
EMULATED := $(patsubst $B/%,$B/emulated/%,$(filter-out %/amx,$(filter $B/tests/ops/% $B/tests/unit/vit $B/tests/unit/integers \
  $B/tests/unit/scores $B/tests/golden/landmark $B/tests/golden/part-fvit,$(TESTS))))
endif
$B/emulated/kernels/cpu/%_amx.o: TILES := -DLAFS_TILE_EMULATION
# At -O2 gcc takes twice as long as at -O1, where clang takes 20 GB for attention.c.
EMULATED_OPT := $(if $(findstring clang,$(shell $(CC) --version 2>/dev/null)),-O2,-O1)
$B/emulated/%.o: %.c tests/emulate/avx512.h
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(KERNEL_CFLAGS) $(EMULATED_OPT) -Wno-psabi $(TILES) -include tests/emulate/avx512.h -MMD -MP -c -o $@ $<
$B/emulated/liblafs.a: $(EMULATED_OBJ) $(filter-out $(EMULATED_OBJ:$B/emulated/%=$B/%),$(LIB_OBJ))
	@rm -f $@
	$(AR) rcs $@ $^
$(EMULATED): $B/emulated/%: $B/%.o $B/libcmd.a $B/emulated/liblafs.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# A simulated GPU: the kernels of kernels/cuda, compiled by the host's compiler, as a plugin of its own. See tests/cuda.
CXX ?= c++
CXX_WARN := $(filter-out -Wmissing-prototypes -Wstrict-prototypes,$(WARN))
SIM_CXXFLAGS = -std=c++17 $(if $(SAN),-O2,-O3) -ffp-contract=off -fPIC -fvisibility=hidden -pthread $(CXX_WARN) -Wno-unknown-pragmas $(SANFLAGS) -I. -Ilib
SIM := $B/tests/cuda/sim
SIM_SRC := $(filter-out kernels/cuda/runtime.cu kernels/cuda/product.cu,$(sort $(wildcard kernels/cuda/*.cu))) \
           $(sort $(wildcard tests/cuda/*.cc))
SIM_OBJ := $(SIM_SRC:%=$(SIM)/%.o) $(CUDA_LIB_SRC:%.c=$(SIM)/%.o)
# What tests/cuda/races.cc looks at, and a trap where something lies at no multiple of its alignment.
SIM_SEEN := -fsanitize=thread,alignment -fsanitize-undefined-trap-on-error -Wno-maybe-uninitialized
$(SIM)/kernels/%.o: private SIM_CXXFLAGS += $(if $(SAN),,$(SIM_SEEN))
$(SIM)/%.o: %
	@mkdir -p $(@D)
	$(CXX) $(SIM_CXXFLAGS) -MMD -MP -c -o $@ -x c++ $<
$(SIM)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -fPIC -fvisibility=hidden -MMD -MP -c -o $@ $<
$(SIM)/lafs-cuda.so: $(SIM_OBJ)
	$(CXX) $(SANFLAGS) -shared -o $@ $^ -pthread

GPU_BENCH := $B/tests/gpu/bench
STAGES := $B/tests/bench/stages $B/tests/bench/search
GPU_SIZES := $B/tests/gpu/sizes
GPU_RECORDING := $B/tests/gpu/recording
CUDA_OPS := $(addprefix $B/tests/ops/,elementwise linear transformer images loss)

CLI_TESTS := $(sort $(filter-out %/lib.sh,$(wildcard tests/cli/*.sh)))
CUDA_TESTS := $(if $(shell command -v $(lastword $(CXX))),$(sort $(wildcard tests/cuda/*.sh)))
TREE_TESTS := $(sort $(filter-out %/lib.sh,$(wildcard tests/tree/*.sh)))
MAN_TESTS := $(sort $(filter-out %/prepare.sh,$(wildcard tests/man/*.sh)))
REAL_TESTS := $(sort $(filter-out %/lib.sh,$(wildcard tests/real/*.sh)))
INJECT_TESTS := $(sort $(filter-out %/lib.sh,$(wildcard tests/inject/*.sh)))

# What each kind of build tests, the long ones first, so that no processor is left alone with one of them at the end.
# Threads matter to few; the tree is the same under any sanitizer.
ifeq ($(SAN),)
CHECK := $(if $(TEST_NATIVE),$(wildcard tests/arm64/*.sh)) tests/torch/twin.sh $(INJECT_TESTS) $(MAN_TESTS) $(REAL_TESTS) $(CUDA_TESTS) $(CLI_TESTS) $(EMULATED) $(TREE_TESTS) $(TESTS) $(REPLAYS)
else ifeq ($(SAN),thread)
CHECK := $(foreach n,rng pool hasher loader ahead stream index filter shard train pretrain finetune run search detect detecttrain,\
  $(filter $B/tests/unit/$n $B/tests/unit/$n-% $B/tests/unit/$n_% tests/cli/$n.sh tests/cli/$n-%.sh tests/cli/lafs-$n%,$(TESTS) $(CLI_TESTS)))
else
CHECK := $(CUDA_TESTS) $(CLI_TESTS) $(TESTS) $(REPLAYS)
endif
ifneq ($T,)
CHECK := $(foreach c,$(CHECK),$(if $(strip $(foreach t,$T,$(findstring $t,$c))),$c))
endif

.PHONY: check
check: deps $(PROGRAMS) $(filter $B/%,$(CHECK)) $(if $(filter $(CUDA_TESTS),$(CHECK)),$(SIM)/lafs-cuda.so $(PLUGIN) $(CUDA_OPS) $(GPU_BENCH) $(STAGES) $(GPU_SIZES) $(GPU_RECORDING)) $(if $(filter %/train-ranks.sh %/train-ranks-trouble.sh %/slurm.sh %/cuda/ranks.sh,$(CHECK)),$(RANKS) $(NCCL) $(MPI_PLUGIN)) $(if $(filter $(INJECT_TESTS) %/train-ranks-trouble.sh,$(CHECK)),$(SHIM)) $(if $(filter %/lafs-shard-trouble.sh,$(CHECK)),$B/tests/unit/stream) $(if $(filter tests/torch/twin.sh,$(CHECK)),$B/tests/torch/driver)
	@CC='$(CC)' SAN='$(SAN)' tests/run $B $(CHECK)

.PHONY: check-interop
check-interop: deps $(PROGRAMS)
	@CC='$(CC)' SAN='$(SAN)' tests/run $B tests/interop/interop.sh

.PHONY: check-cluster
check-cluster: deps $(PROGRAMS) $(MPI_PLUGIN) $(if $(CUDA_TESTS),$(SIM)/lafs-cuda.so)
	@CC='$(CC)' SAN='$(SAN)' tests/run $B tests/cluster/mpirun.sh tests/cluster/slurm.sh

# Kernels and what rests on them, on other vectors and with another compiler's order of things. The slow ones are left
# out: an emulator takes thirty times as long.
ARM64 := aarch64-linux-gnu
ARM64_TESTS := tests/arm64 $(addprefix tests/ops/,bottleneck conv elementwise images kinks norm2d patch pool scan transformer unit) \
  $(addprefix tests/golden/,augment landmark patch synth verification vit yunet) \
  $(addprefix tests/unit/,integers pool resize rng scores search sha256 viewplan)
.PHONY: check-arm64
check-arm64: deps $(PROGRAMS)
	@if command -v qemu-aarch64-static >/dev/null && CC=$(ARM64)-gcc DEPS=no tools/deps build; then \
	  TEST_RUN=qemu-aarch64-static TEST_NATIVE='$(abspath $B)' $(MAKE) --no-print-directory check DEPS=no \
	    T='$(ARM64_TESTS)' CC=$(ARM64)-gcc CXX=$(ARM64)-g++ MPICC=no NVCC=no; \
	else \
	  echo "skip arm64: there is no qemu-aarch64-static, $(ARM64)-gcc or library for it"; \
	  echo "0 passed, 0 failed, 1 skipped"; \
	  [ -z "$$TEST_TALLY" ] || echo "0 0 1" >>"$$TEST_TALLY"; \
	fi

FUZZERS := $(patsubst %,$B/fuzz/%,$(or $F,$(FUZZ_SRC:tests/fuzz/%.c=%)))
$B/fuzz/%: $B/tests/fuzz/%.o $B/libcmd.a $(PROGRAM_LIB)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -fsanitize=fuzzer $(LDFLAGS) -o $@ $^ $(LDLIBS)

.PHONY: fuzz fuzz-run
fuzz:
	@command -v clang >/dev/null || { echo "make fuzz needs clang" >&2; exit 1; }
	@$(MAKE) --no-print-directory CC=clang SAN=address,undefined OPT=-O1 CFLAGS=-fsanitize=fuzzer-no-link fuzz-run
fuzz-run: $(FUZZERS)
	@tests/fuzz/run '$(TIME)' $^

.PHONY: soak
soak: $B/lafs-shard $B/lafs-show $B/tests/unit/stream $B/tests/soak/peak $B/tests/soak/recset
	@tests/soak/records.sh $B $(RECORDS)
$B/tests/soak/peak: $B/%: $B/%.o
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^
.PHONY: soak-ijb
soak-ijb: $B/lafs-verify $B/lafs-search $B/tests/soak/peak $B/tests/soak/ijbset
	@tests/soak/ijb.sh $B
$B/tests/soak/ijbset $B/tests/soak/recset: $B/%: $B/%.o $B/libcmd.a $B/liblafs.a
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# -- the main job --

.PHONY: demo
# The plugin only where there is a GPU (under WSL it is dxg): it takes longer to compile than all the rest.
demo: deps bin $(if $(wildcard /dev/nvidia[0-9]* /dev/dxg),$(PLUGIN))
	@$(MAKE) --no-print-directory -f examples/demo.mk OUT=demo BIN=bin

# -- speed: make bench, or make bench-NAME for tests/bench/NAME.c; a table, and JSON in build/bench.json --

PEER ?=
PYTHON ?= python3
JSON ?= build/bench.json
BENCH_SRC := $(sort $(wildcard tests/bench/*.c))
BENCHES := $(BENCH_SRC:%.c=$B/%)
$(BENCHES): $B/%: $B/%.o $B/libcmd.a $B/liblafs.a
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$B/tests/bench/start: | $(PROGRAMS)
.PHONY: benches bench $(BENCH_SRC:tests/bench/%.c=bench-%)
benches: $(BENCHES)
bench: $(BENCHES)
	@PYTHON='$(PYTHON)' PEER='$(PEER)' tests/bench/run '$(JSON)' $^
$(BENCH_SRC:tests/bench/%.c=bench-%): bench-%: $B/tests/bench/%
	@PYTHON='$(PYTHON)' PEER='$(PEER)' tests/bench/run '$(JSON)' $<

# -- on a machine with a GPU: tests, speed; and what such a machine needs that has no packages of ours, in one file --

$(GPU_BENCH) $(GPU_SIZES) $(GPU_RECORDING): $B/%: $B/%.o $B/liblafs.a
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)
.PHONY: check-gpu bench-gpu pack-gpu
check-gpu: $(PROGRAMS) $(PLUGIN) $(CUDA_OPS) $(GPU_SIZES) $(GPU_RECORDING)
	@tests/gpu/check $B
bench-gpu: $(PLUGIN) $(GPU_BENCH) $(STAGES)
	@PEER='$(PEER)' PYTHON='$(PYTHON)' tests/gpu/speed $B
PACK ?= build/lafs-gpu.tar.gz
pack-gpu: $(PROGRAMS) $(PLUGIN) $(CUDA_OPS) $(GPU_BENCH) $(GPU_SIZES) $(GPU_RECORDING) $(STAGES)
	@tests/gpu/pack $B '$(PACK)'

# -- installation --

# PREFIX, as many say it. A name may hold blanks, and begin with ~ where the shell left that alone.
prefix ?= $(or $(PREFIX),/usr/local)
root = $(DESTDIR)$(prefix)
dest = $(if $(filter ~/%,$(root)),$(patsubst ~/%,$(HOME)/%,$(root)),$(root))
MODELS := $(wildcard share/models/*.safetensors)
PRESETS := $(filter-out %.md,$(wildcard examples/presets/*))

.PHONY: install
install: $(PROGRAMS) $(PLUGIN) $(MPI_PLUGIN)
	install -d '$(dest)/bin' '$(dest)/share/lafs/presets' '$(dest)/share/bash-completion/completions' \
	    '$(dest)/share/zsh/site-functions'
	$(if $(PROGRAMS),install -m 755 $(PROGRAMS) '$(dest)/bin')
	$(if $(PLUGIN)$(MPI_PLUGIN),install -d '$(dest)/lib/lafs')
	$(if $(PLUGIN)$(MPI_PLUGIN),install -m 644 $(PLUGIN) $(MPI_PLUGIN) '$(dest)/lib/lafs')
	for p in $(PROGRAMS); do \
	    n=$$(basename $$p); \
	    $$p --completion bash >'$(dest)/share/bash-completion/completions/'$$n || exit 1; \
	    $$p --completion zsh >'$(dest)/share/zsh/site-functions/_'$$n || exit 1; done
	for m in $(wildcard man/*.[1-9]); do \
	    d='$(dest)/share/man/man'$${m##*.}; install -d "$$d" && install -m 644 $$m "$$d" || exit 1; done
	$(if $(PRESETS),install -m 644 $(PRESETS) '$(dest)/share/lafs/presets')
	$(if $(MODELS),install -d '$(dest)/share/lafs/models' && install -m 644 $(MODELS) '$(dest)/share/lafs/models')

# What install puts there, and the directories that nothing but lafs uses: those go where they are empty.
INSTALLED = $(PROGRAMS:$B/%=bin/%) lib/lafs/lafs-cuda.so lib/lafs/lafs-mpi.so \
  $(PROGRAMS:$B/%=share/bash-completion/completions/%) $(PROGRAMS:$B/%=share/zsh/site-functions/_%) \
  $(foreach m,$(wildcard man/*.[1-9]),share/man/man$(subst .,,$(suffix $m))/$(notdir $m)) \
  $(PRESETS:examples/%=share/lafs/%) $(MODELS:share/%=share/lafs/%)
.PHONY: uninstall
uninstall:
	@for f in $(INSTALLED); do rm -f '$(dest)/'$$f || exit 1; done
	@for d in share/lafs/presets share/lafs/models share/lafs lib/lafs; do \
	    if [ -d '$(dest)/'$$d ]; then rmdir --ignore-fail-on-non-empty '$(dest)/'$$d || exit 1; fi; done

.PHONY: clean
clean:
	rm -rf build bin

-include $(LIB_OBJ:.o=.d) $(UNCHECKED_OBJ:.o=.d) $(COMMON_OBJ:.o=.d) $(CMD_SRC:%.c=$B/%.d) $(TEST_SRC:%.c=$B/%.d) $B/tests/torch/driver.d $(FUZZ_SRC:%.c=$B/%.d) $(BENCH_SRC:%.c=$B/%.d) $(EMULATED_OBJ:.o=.d) $(SIM_OBJ:.o=.d) $(GPU_BENCH).d $(GPU_SIZES).d $(GPU_RECORDING).d $(CUDA_OBJ:.o=.d) $B/mpi/kernels/mpi/comm.d $B/mpi/lib/base/err.d
