#!/usr/bin/env bash
# Does CRRN's design help? The paper's Table 2 at a size for CPUs: four ablations, three seeds, on SIR2's wild scenes.
#   experiments/table2.sh BACKGROUNDS REFLECTIONS SIR2 [training|evaluation|report]
# One thread: about an hour of one core.
set -euo pipefail
background=$1 reflection=$2 sir2=$3 part=${4:-all}
python=${PYTHON:-python}
sweep=runs/sweeps/table2

if [[ $part == all || $part == training ]]; then
    OMP_NUM_THREADS=1 "$python" -m src.train -m experiment=table2 resume=auto \
        data.background="$background" data.reflection="$reflection"
fi
if [[ $part == all || $part == evaluation ]]; then
    removers=
    for ablation in none l1_only iin_only; do
        for seed in 1 2 3; do
            removers+="${removers:+,}${ablation}_$seed:'$sweep/ablation=$ablation,seed=$seed'"
        done
    done
    "$python" -m src.eval name=table2 benchmark='[sir2]' benchmark.sir2.root="$sir2" 'benchmark.sir2.subsets=[wildscene]' \
        protocol='[crrn]' removers="{$removers}" strict=false cases=0
fi
if [[ $part == all || $part == report ]]; then
    "$python" experiments/table2.py evaluations/table2 $sweep experiments/table2
fi
