# The main job on faces that it makes itself: photos -> faces -> pretraining without labels -> fine-tuning with few ->
# verification on people that were never trained on. `make demo` runs it; seeds are fixed, so the table is the same twice.
#
#   make -f examples/demo.mk OUT=demo BIN=bin

# Numbers have points, whatever the language.
export LC_ALL := C
OUT ?= demo
BIN ?= bin
Q ?= -q
FEW := --preset few-finetune --seed 1

# People never meet: numbers of lafs-synth's people, first and how many.
UNLABELLED := --people-from 0 --people 400 -n 2
LABELLED := --people-from 10000 --people 300 -n 4
TEST := --people-from 20000 --people 120 -n 4

# From whole photos: the shipped detector finds the faces; without one they are aligned by their true points. Each photo is
# known to show a face, so a low score will do.
FIND := $(if $(wildcard share/models/detector.safetensors),--best --min-score 0.3,--align-only)

PART := $(OUT)/part/model.safetensors
SSL := $(OUT)/ssl/model.safetensors
FT := $(OUT)/ft/model.safetensors
PLAIN := $(OUT)/plain/model.safetensors

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: table
table: $(foreach m,pixel scratch plain lafs,$(OUT)/$m.json) $(OUT)/faces.jpg $(OUT)/views.jpg $(OUT)/ssl.svg $(OUT)/roc.svg
	@sh examples/table.sh $(OUT) "pixel cosine" pixel.json "from scratch (stage 1)" scratch.json \
	    "fine-tuned without LAFS" plain.json "fine-tuned after LAFS" lafs.json

$(OUT)/unlabelled.lafs $(OUT)/labelled.lafs $(OUT)/test.lafs: $(OUT)/%.lafs:
	@mkdir -p $(OUT)
	$(BIN)/lafs-synth $Q $($(shell echo $* | tr a-z A-Z)) | $(BIN)/lafs-detect $Q $(FIND) -o $(OUT)/$*-%06d.tar

$(OUT)/pairs.txt: $(OUT)/test.lafs
	$(BIN)/lafs-synth $Q $(TEST) --pairs $@ > $(OUT)/test.stream
	rm $(OUT)/test.stream

# From scratch, with the few labels alone: the baseline, and where the landmark CNN comes from.
$(PART): $(OUT)/labelled.lafs
	$(BIN)/lafs-finetune $Q $(FEW) --stage 1 --landmark-start grid --epochs 30 -o $(OUT)/part $<

# No labels.
$(SSL): $(OUT)/unlabelled.lafs $(PART)
	$(BIN)/lafs-pretrain $Q --preset few-pretrain --seed 1 --landmarks $(PART) --init $(PART) -o $(OUT)/ssl $<

# The few labels again; and the same without the pretraining.
$(FT): $(OUT)/labelled.lafs $(SSL)
	$(BIN)/lafs-finetune $Q $(FEW) --lr 0.0005 --epochs 12 --init $(SSL) -o $(OUT)/ft $<
$(PLAIN): $(OUT)/labelled.lafs $(PART)
	$(BIN)/lafs-finetune $Q $(FEW) --lr 0.0005 --epochs 12 --init $(PART) -o $(OUT)/plain $<

$(OUT)/pixel.json: $(OUT)/test.lafs $(OUT)/pairs.txt
	$(BIN)/lafs-embed $Q --baseline pixel $< | $(BIN)/lafs-verify $Q --pairs $(OUT)/pairs.txt --json > $@
$(OUT)/scratch.json: $(PART)
$(OUT)/plain.json: $(PLAIN)
$(OUT)/lafs.json: $(FT)
$(OUT)/scratch.json $(OUT)/plain.json $(OUT)/lafs.json: $(OUT)/test.lafs $(OUT)/pairs.txt
	$(BIN)/lafs-embed $Q -m $(filter %.safetensors,$^) $(OUT)/test.lafs | \
	    $(BIN)/lafs-verify $Q --pairs $(OUT)/pairs.txt --json > $@
$(OUT)/roc.svg: $(OUT)/test.lafs $(OUT)/pairs.txt $(FT)
	$(BIN)/lafs-embed $Q -m $(FT) $< | $(BIN)/lafs-verify $Q --pairs $(OUT)/pairs.txt --plot $@ > $(OUT)/lafs.txt

# To look at.
$(OUT)/faces.jpg: $(OUT)/labelled.lafs
	$(BIN)/lafs-show --contact-sheet -n 48 $< > $@
$(OUT)/views.jpg: $(OUT)/unlabelled.lafs $(PART)
	$(BIN)/lafs-augment $Q --render -n 4 $< | $(BIN)/lafs-landmark $Q --keep -m $(PART) | $(BIN)/lafs-show --contact-sheet --views > $@
$(OUT)/ssl.svg: $(SSL)
	$(BIN)/lafs-show --curves $(OUT)/ssl > $@
