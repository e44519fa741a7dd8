# Does bf16 learn what fp32 learns? The same fine-tuning from the same seed in fp32, bf16 and bf16x3, then 100 steps of
# pretraining that all begin with the model of fp32: their curves in one drawing each, and what the models verify, on
# the same pairs of people that were not trained on.
#
#   make -f examples/precision.mk                          # synthetic faces; 15 minutes on two cores without AMX
#   make -f examples/precision.mk DATA=../shared/data      # LFW's, split as in real.mk, the settings pairs
#
# Figures: README, "Honest limits". Those of real photos are of 2026-11-26, on a shared core of AVX2 without AMX, by
#
#   make -f examples/precision.mk DATA=../shared/data KINDS="fp32 bf16" JOBS="-j 1" \
#       FINETUNE="--preset few-finetune --stage 1 --epochs 6 --warmup 1" PRETRAIN="--preset few-pretrain --batch 16 --epochs 2"
#
# Patches lie on the grid: a landmark CNN moves its landmarks by what rounding moves its weights, a patch whose corner
# crosses a pixel changes its gradient by a jump, and after some dozens of steps two runs in fp32 on different
# processors are as far from each other as either from bf16.

# Numbers have points, whatever the language.
export LC_ALL := C
DATA ?=
WEIGHTS ?= $(DATA)/../weights/yunet_n_dynamic.onnx
OUT ?= precision
BIN ?= bin
Q ?= -q
JOBS ?=
PRETRAIN ?= --preset few-pretrain --batch 32 --epochs 4
FINETUNE ?= --preset few-finetune --stage 1 --epochs 25
# Numbers of lafs-synth's people, first and how many: they never meet.
UNLABELLED ?= --people-from 0 --people 400 -n 2
LABELLED ?= --people-from 10000 --people 240 -n 5
TEST ?= --people-from 20000 --people 150 -n 4

KINDS ?= fp32 bf16 bf16x3
RUN := $(Q) $(JOBS) --seed 1

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: table
table: $(foreach k,$(KINDS) mixed,$(OUT)/$k.json) $(OUT)/pixel.json $(OUT)/pretrain.svg $(OUT)/finetune.svg
	@sh examples/table.sh $(OUT) "pixel cosine" pixel.json $(foreach k,$(KINDS),"$k" $k.json) \
	    "trained in fp32, embedded in bf16" mixed.json

ifeq ($(DATA),)
$(OUT)/unlabelled.lafs $(OUT)/labelled.lafs $(OUT)/test.lafs: $(OUT)/%.lafs:
	@mkdir -p $(OUT)
	$(BIN)/lafs-synth $(Q) $($(shell echo $* | tr a-z A-Z)) --aligned -o $(OUT)/$*-%06d.tar
$(OUT)/pairs.txt:
	@mkdir -p $(OUT)
	$(BIN)/lafs-synth $(Q) $(TEST) --aligned --pairs $@ > /dev/null
else
$(OUT)/yunet.safetensors: $(WEIGHTS)
	@mkdir -p $(OUT)
	$(BIN)/lafs-convert $(Q) -o $@ $<
$(OUT)/lfw.lafs: $(DATA)/lfw-devtrain.tar $(OUT)/yunet.safetensors
	$(BIN)/lafs-detect $(Q) --best -m $(OUT)/yunet.safetensors -o $(OUT)/lfw-%06d.tar $<
$(OUT)/train.lafs: $(OUT)/lfw.lafs
	$(BIN)/lafs-select $(Q) --not-hash 10:0,1 -o $@ $<
$(OUT)/unlabelled.lafs: $(OUT)/train.lafs
	$(BIN)/lafs-select $(Q) --identities 800 --shots 1 -o $@ $<
$(OUT)/labelled.lafs: $(OUT)/train.lafs
	$(BIN)/lafs-select $(Q) --min-images 2 --shots 6 -o $@ $<
$(OUT)/test.lafs: $(OUT)/lfw.lafs
	$(BIN)/lafs-select $(Q) --hash 10:1 -o $@ $<
$(OUT)/pairs.txt: $(DATA)/pairs-settings.txt
	@mkdir -p $(OUT)
	cp $< $@
endif

SSL := $(KINDS:%=$(OUT)/pretrain-%/model.safetensors)
FT := $(KINDS:%=$(OUT)/finetune-%/model.safetensors)
$(SSL): $(OUT)/pretrain-%/model.safetensors: $(OUT)/unlabelled.lafs $(OUT)/finetune-fp32/model.safetensors
	$(BIN)/lafs-pretrain $(RUN) $(PRETRAIN) --landmarks grid --init $(word 2,$^) --precision $* -o $(@D) $<
$(FT): $(OUT)/finetune-%/model.safetensors: $(OUT)/labelled.lafs
	$(BIN)/lafs-finetune $(RUN) $(FINETUNE) --tokens grid --precision $* -o $(@D) $<
$(OUT)/pretrain.svg: $(SSL)
$(OUT)/finetune.svg: $(FT)
$(OUT)/pretrain.svg $(OUT)/finetune.svg:
	$(BIN)/lafs-show --curves $(patsubst %/,%,$(dir $^)) > $@

# Embedded as trained; `mixed`: trained in fp32, embedded in bf16.
JUDGE := $(OUT)/test.lafs $(OUT)/pairs.txt
VERIFY := $(BIN)/lafs-verify $(Q) --pairs $(OUT)/pairs.txt --json
$(KINDS:%=$(OUT)/%.json): $(OUT)/%.json: $(OUT)/finetune-%/model.safetensors $(JUDGE)
	$(BIN)/lafs-embed $(Q) $(JOBS) --precision $* -m $< $(OUT)/test.lafs | $(VERIFY) > $@
$(OUT)/mixed.json: $(OUT)/finetune-fp32/model.safetensors $(JUDGE)
	$(BIN)/lafs-embed $(Q) $(JOBS) --precision bf16 -m $< $(OUT)/test.lafs | $(VERIFY) > $@
$(OUT)/pixel.json: $(JUDGE)
	$(BIN)/lafs-embed $(Q) $(JOBS) --baseline pixel $< | $(VERIFY) > $@
