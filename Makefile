# lafs: photos of faces to a face recogniser. See README.md.
#
#   make            programs and libraries into build/<hash>/, linked from bin/
#   make demo       the main job on synthetic faces
#   make check      all tests (SAN=address,undefined or SAN=thread for sanitizers)
#   make install    prefix=/usr/local DESTDIR=

prefix ?= /usr/local
DESTDIR ?=
SAN ?=
DEPS ?= yes

CC ?= cc
OPT ?= -O3
CFLAGS ?=
WARN := -Wall -Wextra -Wmissing-prototypes -Wstrict-prototypes -Wno-missing-field-initializers
ifdef CI
WARN += -Werror
endif
SANFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all -DLAFS_SAN -g)
ALL_CFLAGS = -std=c11 -D_GNU_SOURCE $(OPT) -ffp-contract=off -fno-math-errno -pthread $(WARN) $(SANFLAGS) -I. -Ilib $(CFLAGS)
# What a program does not use it does not load.
LDLIBS = -Wl,--as-needed -larchive -ljpeg -lopenblas -lmsgpackc -lm -ldl

# Builds with different flags never mix: the directory is named by their hash.
HASH := $(shell printf '%s' '$(CC) $(shell $(CC) -dumpfullversion 2>/dev/null) $(ALL_CFLAGS)' | cksum | cut -d' ' -f1)
B := build/$(HASH)

LIB_SRC := $(sort $(wildcard lib/*/*.c kernels/ref/*.c kernels/cpu/*.c))
CMD_SRC := $(sort $(wildcard cmd/lafs-*.c))
COMMON_SRC := $(filter-out $(CMD_SRC),$(sort $(wildcard cmd/*.c)))
TEST_SRC := $(sort $(wildcard tests/unit/*.c tests/ops/*.c tests/golden/*.c))

LIB_OBJ := $(LIB_SRC:%.c=$B/%.o)
COMMON_OBJ := $(COMMON_SRC:%.c=$B/%.o)
PROGRAMS := $(CMD_SRC:cmd/%.c=$B/%)
TESTS := $(TEST_SRC:%.c=$B/%)

.PHONY: all
all: $(PROGRAMS) bin

$B/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$B/liblafs.a: $(LIB_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

$B/lafs-%: $B/cmd/lafs-%.o $(COMMON_OBJ) $B/liblafs.a
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$B/tests/%: $B/tests/%.o $(COMMON_OBJ) $B/liblafs.a
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# bin/ holds links to the build made last: what shell scripts and people call.
.PHONY: bin
bin: $(PROGRAMS)
	@mkdir -p bin
	@for p in $(PROGRAMS); do ln -sfn ../$$p bin/$$(basename $$p); done

.SECONDARY:
.PHONY: tests
tests: $(TESTS)

.PHONY: clean
clean:
	rm -rf build bin

-include $(LIB_OBJ:.o=.d) $(COMMON_OBJ:.o=.d) $(CMD_SRC:%.c=$B/%.d) $(TEST_SRC:%.c=$B/%.d)
