# usage: awk -F '\t' -v as=html|markdown -v part=top|cells -v scale=NAME -v wanted=N -v shots="1 2" -v pairs=NAME -f tables.awk
# What `figures` says, as tables: first what the experiment answers, then what it rests on.

# -- text in either language --
function html() { return as == "html" }
function bold(s) { return html() ? "<b>" s "</b>" : "**" s "**" }
function small(s) { return html() ? "<small>" s "</small>" : s }
function newline() { return html() ? "<br>" : "<br>" }
function minus() { return html() ? "&minus;" : "−" }
function none() { return html() ? "&ndash;" : "–" }
function code(s) { return html() ? "<code>" s "</code>" : "`" s "`" }
function heading(s) { print html() ? "<h2>" s "</h2>" : "\n## " s "\n" }
function paragraph(s, class) { print html() ? "<p" (class ? " class=\"" class "\"" : "") ">" s "</p>" : s "\n" }
# Columns are split by |. The first line of a table is its head.
function table(head,   i, n, column) {
    n = split(head, column, "|")
    if (!html()) { print "| " head_of(column, n) " |"; print rule(n); return }
    printf "<table><thead><tr>"
    for (i = 1; i <= n; i++) printf "<th>%s", column[i]
    print "</tr></thead><tbody>"
}
function head_of(column, n,   i, s) { for (i = 1; i <= n; i++) s = s (i > 1 ? " | " : "") column[i]; return s }
function rule(n,   i, s) { for (i = 1; i <= n; i++) s = s "|---"; return s "|" }
function row(text, class,   i, n, column) {
    n = split(text, column, "|")
    if (!html()) { print "| " head_of(column, n) " |"; return }
    printf "<tr%s>", class ? " class=\"" class "\"" : ""
    for (i = 1; i <= n; i++) printf "<td>%s", column[i]
    print "</tr>"
}
function end() { print html() ? "</tbody></table>" : "" }

# -- what is known --
$1 == "C" {
    cells++; name[cells] = $2; line[cells] = $0; stands[cells] = $3
    if ($3 != "use") { left_out++; why[$3] = why[$3] (why[$3] ? ", " : "") $2; next }
    used++
    if (split($2, part_of, "-") < 4) { alone[$2] = $0; next }
    arm = part_of[1] "-" part_of[2] "-" part_of[3] SUBSEP substr(part_of[4], 2)
    n[arm]++; accuracy[arm] += $4; low[arm] += $5; high[arm] += $6; auc[arm] += $7
}
$1 == "D" { d++; for (i = 1; i <= 21; i++) difference[d, i] = $i; done[d] = NF > 8 }

function arm_said(tokens) { return tokens == "grid" ? "on a grid" : "at landmarks" }
function of_method(m) {
    if (sub(/\.long$/, "", m)) return "longer " of_method(m)
    return m == "none" ? "none" : m == "dino" ? "DINO" : m == "lafs" ? "LAFS" : m
}
function compared(i) { return of_method(difference[i, 6]) " " minus() " " of_method(difference[i, 7]) }
function told(i) {
    if (!done[i]) return "missing"
    return difference[i, 14] > 0 ? "above" : difference[i, 15] < 0 ? "below" : "open"
}
# What would be seen in four of five such experiments: 1.96 + 0.84 deviations.
function visible(i) { return sprintf("%.3f", 2.8 * difference[i, 17]) }
function verdict(i,   t) {
    t = told(i)
    if (t == "missing") return "not done"
    if (t == "open") return "not told apart"
    if (difference[i, 8] != "") return t == "above" ? "as claimed" : "the opposite of the claim"
    return t == "above" ? "better" : "worse"
}
function level_said(x) { return x == "pretrain" ? "pretraining" : x == "finetune" ? "fine-tuning" : x }
function drawn(i,   a, b) {
    a = level_said(difference[i, 18]); b = level_said(difference[i, 19])
    if (a == "" && b == "") return "people only"
    if (a == "" || b == "") return "people, " a b " of one side"
    return "people, " a (a == b ? "" : " / " b)
}
function interval(i, at) {
    if (!done[i]) return none()
    return bold(sprintf("%+.3f", difference[i, at])) " " small(sprintf("[%+.3f, %+.3f]", difference[i, at + 1], difference[i, at + 2]))
}
# Accuracy, AUC, verdict, how large a difference would be seen, what was drawn, how many runs.
function answers(i) {
    if (!done[i]) return none() "|" none() "|not done|" none() "|" none()
    return interval(i, 9) "|" interval(i, 13) "|" verdict(i) "|" visible(i) "|" small(drawn(i) "; " difference[i, 20] ", " \
        difference[i, 21] " runs")
}
function level(a, k,   x) {
    x = a SUBSEP k
    if (!n[x]) return none()
    return bold(sprintf("%.3f", auc[x] / n[x])) newline() small(sprintf("accuracy %.3f%s[%.3f, %.3f], %d run%s", accuracy[x] / n[x], newline(), \
        low[x] / n[x], high[x] / n[x], n[x], n[x] == 1 ? "" : "s"))
}

# -- the answer --
function claims(   i, t) {
    for (i = 1; i <= d; i++) if (difference[i, 8] != "") { all++; t = told(i); said[t]++ }
}
function answer(   s) {
    claims()
    if (said["missing"] == all) s = "Nothing is decided yet: none of the " all " comparisons that decide is done."
    else {
        s = "Of the " all " comparisons that decide, " said["above"] + 0 " came out as claimed, " said["below"] + 0 \
            " the other way round, " said["open"] + 0 " cannot be told apart"
        s = s (said["missing"] ? ", and " said["missing"] " are not done." : ".")
        if (said["below"]) s = s " The hypothesis is refuted."
        else if (said["above"] == all) s = s " The hypothesis stands."
        else s = s (said["missing"] ? " So far that" : " That") " neither confirms nor refutes the hypothesis."
    }
    paragraph(s, "answer")
}
function best(   a, top, which, part_, s) {
    for (a in n) if (!top || auc[a] / n[a] > top || (auc[a] / n[a] == top && a < which)) { top = auc[a] / n[a]; which = a }
    if (top) {
        split(which, part_, SUBSEP)
        s = "The best arm is " code(part_[1]) (part_[2] ? " at " part_[2] (part_[2] == 1 ? " shot" : " shots") : \
            ", not fine-tuned") sprintf(": AUC %.3f, accuracy %.3f", top, accuracy[which] / n[which])
    }
    if ("lbp" in alone) s = s (s ? "; " : "") "local binary patterns: " baseline("lbp")
    if ("pixel" in alone) s = s (s ? "; " : "") "pixel cosine: " baseline("pixel")
    if (s) paragraph(s ".")
}
function baseline(b,   f) { split(alone[b], f, "\t"); return sprintf("AUC %.3f, accuracy %.3f", f[7], f[4]) }

# -- the differences as a picture: a line each, those that decide first --
function X(v) { return 325 + (v + reach) / (2 * reach) * 290 }
function text_at(x, y, colour, more, s) {
    printf "<text x=\"%.1f\" y=\"%d\" fill=\"%s\" %s>%s</text>", x, y, colour, more, s
}
function forest_row(i, y, decides,   c) {
    c = told(i) == "above" ? "#1a7f37" : told(i) == "below" ? "#b3261e" : "#666"
    text_at(315, y + 4, decides ? "#222" : "#666", "text-anchor=\"end\"" (decides ? " font-weight=\"bold\"" : ""), \
        where(i) ": " part_said(i))
    if (done[i]) {
        printf "<path stroke=\"%s\" stroke-width=\"2\" d=\"M%.1f %dH%.1f\"/><circle r=\"4\" fill=\"%s\" cx=\"%.1f\" cy=\"%d\"/>", c, \
            X(difference[i, 14]), y, X(difference[i, 15]), c, X(difference[i, 13]), y
        text_at(630, y + 4, "#222", "", sprintf("%+.3f [%+.3f, %+.3f]", difference[i, 13], difference[i, 14], difference[i, 15]))
    }
    text_at(795, y + 4, c, decides ? "font-weight=\"bold\"" : "", \
        verdict(i) (told(i) == "open" ? "; would see " visible(i) : ""))
    print ""
}
function forest(   i, at, pass, rows, some, y, v, step, steps) {
    for (i = 1; i <= d; i++) if (done[i] || difference[i, 8] != "") {
        rows++
        some += done[i]
        for (at = 13; at <= 15; at++) if (done[i]) { v = difference[i, at]; if (v < 0) v = -v; if (v > reach) reach = v }
    }
    if (!some) return
    reach = reach < 0.01 ? 0.01 : reach * 1.05
    split("0.01 0.02 0.05 0.1 0.2 0.5 1", steps, " ") # there is room for seven labels
    for (i = 1; i < 7 && steps[i] < reach / 3.5; i++) ;
    step = steps[i]
    printf "<svg class=\"forest\" viewBox=\"0 0 1040 %d\" font-family=\"sans-serif\" font-size=\"12\" role=\"img\" aria-label=\"%s\">\n", \
        rows * 20 + 66, "differences in AUC with their intervals"
    for (i = -int(reach / step); i <= int(reach / step); i++) {
        printf "<path stroke=\"%s\" d=\"M%.1f 26V%d\"/>", i ? "#e4e4e4" : "#222", X(i * step), rows * 20 + 46
        text_at(X(i * step), 18, "#555", "text-anchor=\"middle\"", i ? sprintf("%+.2f", i * step) : "0")
    }
    y = 40
    for (pass = 1; pass <= 2; pass++) {
        for (i = 1; i <= d; i++) if ((difference[i, 8] != "") == (pass == 1) && (pass == 1 || done[i])) {
            forest_row(i, y, pass == 1)
            y += 20
        }
        if (pass == 1) { printf "<path stroke=\"#ccc\" d=\"M10 %dH990\"/>\n", y - 8; y += 6 }
    }
    text_at(500, rows * 20 + 62, "#555", "text-anchor=\"middle\"", "difference in AUC, 95 % interval; would see: a true difference of that size would be told from 0 in 4 of 5 such experiments")
    print "</svg>"
}
function ablation(v) {
    return v == "ordered" ? "without the shuffle" : v == "still" ? "without the perturbation" : \
        v == "tuned" ? "with a CNN that learns" : "that CNN without its regulariser"
}
function part_said(i) {
    return difference[i, 2] == "parts" ? ablation(difference[i, 6]) : of_method(difference[i, 6]) " − " of_method(difference[i, 7])
}
function where(i,   what) {
    what = difference[i, 2] == "long" ? "" : difference[i, 2] == "parts" ? "LAFS" : difference[i, 2] == "warm" ? "warm" : arm_said(difference[i, 3])
    return what (difference[i, 4] == "n" ? "" : (what ? " (" : "(") substr(difference[i, 4], 1, 1) ")") ", " (difference[i, 5] == 0 ? \
        "not fine-tuned" : difference[i, 5] (difference[i, 5] == 1 ? " shot" : " shots"))
}

function top(   k, ks, i, j, a, arms, arm_, c, parts_, s) {
    paragraph(bold("Hypothesis:") " at landmarks, at 1, 2 and 4 labelled photos a person with CNN (b), and at 2 with (a): LAFS " \
        minus() " DINO > 0 and DINO " minus() " none > 0, in AUC. A 95 % interval of the difference below 0 refutes it; one that holds 0 tells nothing apart.")
    answer()
    if (html()) forest()
    best()
    paragraph(used + 0 " of " wanted " cells of the plan " code(scale) " are done, judged on the pairs of " code(pairs) \
        " at a threshold that was found on other people." (used < wanted ? " " bold("This report is not complete.") : ""))
    if (why["recipe"]) paragraph(bold("Not used, since made by another recipe than today's:") " " why["recipe"] ".")
    if (why["pairs"]) paragraph(bold("Not used, since judged on other pairs:") " " why["pairs"] ".")
    if (why["cnn"]) paragraph(bold("Not used, since their landmarks are of another CNN than most cells':") " " why["cnn"] ".")
    if (why["plan"]) paragraph("Not of this plan, and not used: " why["plan"] ".")

    heading("Is LAFS better than DINO, and DINO than nothing?")
    table("patches|labelled photos|difference|accuracy|AUC|the former is|would see|drawn; runs")
    for (j = 1; j <= 2; j++) for (i = 1; i <= d; i++)
        if ((difference[i, 2] == "main" || (difference[i, 2] == "labels" && difference[i, 8] != "")) && (difference[i, 8] != "") == (j == 1))
            row(arm_said(difference[i, 3]) (difference[i, 4] == "n" ? "" : " (" difference[i, 4] ")") "|" (difference[i, 5] ? difference[i, 5] : \
                "none") "|" (j == 1 ? bold(compared(i)) : compared(i)) "|" answers(i), told(i))
    end()
    paragraph("In bold: what decides. Intervals of 95 % are of a bootstrap over people, paired: both sides are judged on the same " \
        "drawings of people. Runs are drawn, too, by the outermost seed of which a side has several: those of one pretraining " \
        "together. “People only”: one run a side, so that the verdict is on these runs, not on what made them. Verdicts are by " \
        "AUC. “Would see”: a true difference of that size would be told from 0 in four of five such experiments.")

    heading("How well do they verify?")
    s = "patches|pretraining"
    k = split(shots, ks, " ")
    for (i = 1; i <= k; i++) s = s "|" ks[i] " shot" (ks[i] == 1 ? "" : "s")
    table(s "|not fine-tuned")
    arms = split("points-none-b points-dino-b points-lafs-b grid-none-n grid-dino-n grid-lafs-n", arm_, " ")
    for (a = 1; a <= arms; a++) {
        split(arm_[a], parts_, "-")
        s = arm_said(parts_[1]) (parts_[3] == "b" ? " (b)" : "") "|" of_method(parts_[2])
        for (i = 1; i <= k; i++) s = s "|" level(arm_[a], ks[i])
        row(s "|" level(arm_[a], 0))
    }
    end()
    paragraph("AUC in bold. Beyond 4 shots they are of the fewer people who have so many photos.")

    heading("Whose labels has the landmark CNN seen?")
    paragraph("At 2 shots: (a) the same few, (b) those of synthetic people, (c) those of all training people. The claim is judged on " \
        "(a) and (b): with (c), labels come in by the back door.")
    table("CNN|none|DINO|LAFS|LAFS " minus() " DINO: AUC|LAFS is|DINO " minus() " none: AUC|DINO is")
    for (c = 1; c <= 3; c++) {
        a = substr("abc", c, 1)
        s = "(" a ")|" level("points-none-" a, 2) "|" level("points-dino-" a, 2) "|" level("points-lafs-" a, 2)
        row(s "|" at_two(a, "lafs", "dino") "|" at_two(a, "dino", "none"))
    }
    end()

    heading("What does each part of it add?")
    table("LAFS at landmarks, 2 shots, CNN (b)|level|less|accuracy|AUC|it is|would see|drawn; runs")
    for (i = 1; i <= d; i++) if (difference[i, 2] == "parts") {
        a = difference[i, 6]
        row(ablation(a) "|" level("points-lafs-b." a, 2) "|" (difference[i, 7] == "lafs" ? "whole LAFS" : \
            ablation(difference[i, 7])) "|" answers(i), told(i))
    }
    end()

    heading("From stage 1's ViT instead of a random start")
    table("2 shots, CNN (b)|accuracy|AUC|the former is|would see|drawn; runs")
    for (i = 1; i <= d; i++) if (difference[i, 2] == "warm") row(compared(i) "|" answers(i), told(i))
    end()
    paragraph("Levels: none " plain("points-none-b.warm") ", DINO " plain("points-dino-b.warm") ", LAFS " plain("points-lafs-b.warm") ".")

    longer(ks, k)
}
function longer(ks, k,   i, a, arms, arm_, s) {
    for (i = 1; i <= d && difference[i, 2] != "long"; i++) ;
    if (i > d) return
    heading("Does pretraining for longer help?")
    s = "at landmarks (b)"
    for (i = 1; i <= k; i++) if (ks[i] <= 4) s = s "|" ks[i] " shot" (ks[i] == 1 ? "" : "s")
    table(s "|not fine-tuned")
    arms = split("dino-b lafs-b dino-b.long lafs-b.long", arm_, " ")
    for (a = 1; a <= arms; a++) {
        s = of_method(substr(arm_[a], 1, 4) (arm_[a] ~ /long/ ? ".long" : ""))
        for (i = 1; i <= k; i++) if (ks[i] <= 4) s = s "|" level("points-" arm_[a], ks[i])
        row(s "|" level(arm_[a] ~ /^dino/ ? "grid-dino-n" substr(arm_[a], 7) : "points-" arm_[a], 0))
    }
    end()
    table("labelled photos|difference|accuracy|AUC|the former is|would see|drawn; runs")
    for (i = 1; i <= d; i++) if (difference[i, 2] == "long") row(difference[i, 5] "|" compared(i) "|" answers(i), told(i))
    end()
}
function plain(a,   x) { x = a SUBSEP 2; return n[x] ? sprintf("%.3f", auc[x] / n[x]) : none() }
function at_two(c, of, against,   i) {
    for (i = 1; i <= d; i++)
        if (difference[i, 3] == "points" && difference[i, 4] == c && difference[i, 5] == 2 && difference[i, 6] == of && difference[i, \
            7] == against) return interval(i, 13) "|" verdict(i)
    return none() "|" none()
}

function seconds(loss, s) { return loss == "" ? none() : sprintf("%s, %d", loss, s) }
function cell_table(   i, f) {
    heading("Cells")
    table("cell|accuracy|AUC|EER|TAR at FAR 1 %|fine-tuning: loss, s|pretraining: loss, s|commit, date, machine")
    for (i = 1; i <= cells; i++) {
        split(line[i], f, "\t")
        row((f[3] == "use" ? f[2] : f[2] " (not used)") sprintf("|%.3f|%.3f|%.3f|%.3f|", f[4], f[7], f[8], f[9]) seconds(f[10], f[11]) "|" \
            seconds(f[12], f[13]) "|" small(f[14] ", " f[15] ", " f[16]))
    }
    end()
}
END {
    if (part == "top" || part == "all") top()
    if (part == "cells" || part == "all") cell_table()
}
