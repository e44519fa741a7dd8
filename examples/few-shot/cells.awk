# usage: awk -v recipes=FILE -v pairs=SHA256 -f cells.awk CELL.json...
# A line a cell, fields split by tabs: C, name, how it stands, accuracy, low, high, AUC, EER, TAR at FAR 1 %, loss and seconds
# of fine-tuning, the same of pretraining, commit, date, machine. How it stands: `use`; or why not: another `recipe` than the
# file has for it (lines `CELL<tab>RECIPE`), not of this `plan`, judged on other `pairs`.
function number(key,   s) {
    if (!match($0, "\"" key "\": [-0-9.e+]+")) return ""
    s = substr($0, RSTART, RLENGTH); sub(/.*: /, "", s)
    return s
}
function string(key,   s) {
    if (!match($0, "\"" key "\": \"[^\"]*\"")) return ""
    s = substr($0, RSTART, RLENGTH - 1); sub(/^"[^"]*": "/, "", s); gsub(/\t/, " ", s)
    return s
}
function finish(   stands) {
    stands = judged != pairs ? "pairs" : !(cell in recipe) ? "plan" : has && said != recipe[cell] ? "recipe" : "use"
    if (cell != "") print "C", cell, stands, figures, tuned, pretrained, from
}
BEGIN {
    FS = OFS = "\t"
    while ((getline line < recipes) > 0) { split(line, part, "\t"); recipe[part[1]] = part[2] }
}
/^\{"cell"/ {
    finish()
    cell = string("cell"); from = string("commit") OFS string("date") OFS string("machine")
    has = 0; figures = tuned = pretrained = judged = ""
    tuned = pretrained = OFS
}
/^ "recipe"/ { has = 1; said = string("recipe") }
/^ "finetune"/ { tuned = number("loss") OFS number("seconds") }
/^ "pretrain"/ { pretrained = number("loss") OFS number("seconds") }
/^ "protocol"/ {
    figures = number("accuracy") OFS number("accuracy_low") OFS number("accuracy_high") OFS number("auc") OFS number("eer") \
        OFS number("1e-2")
    judged = string("pairs_sha256")
}
END { finish() }
