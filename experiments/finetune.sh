#!/usr/bin/env bash
# What does fine-tuning on one's own pairs bring? The shipped network, trained further on 6 and on 12 scenes that it has
# not seen, by one photographer; evaluated on 6 other scenes of this photographer and on 18 scenes of another.
#   experiments/finetune.sh PAIRS [training|evaluation]
# PAIRS: aligned pairs, made by python -m src.prepare. One thread, a processor with bfloat16 instructions.
set -euo pipefail
pairs=$(realpath "$1") part=${2:-all}
python=${PYTHON:-python}
folders=runs/finetune/pairs

link() { # links the pairs of some scenes: FOLDER SCENE...
    local folder=$1
    shift
    for side in blended transmission_layer; do
        mkdir -p "$folder/$side"
        for scene in "$@"; do
            ln -sf "$pairs/$side/$scene"[_.]* "$folder/$side/"
        done
    done
}

link $folders/scenes6 windows_{009,021,028,056,059,068}
link $folders/scenes12 windows_{009,014,021,023,028,031,056,057,059,061,068,072}
link $folders/same_photographer windows_{005,016,027,039,058,064}
link $folders/other_photographer real89_{001,008,013,018,044,048,052,054,063,066,070,074,076,092,094,096,101,108}

export OMP_NUM_THREADS=1
if [ "$part" != evaluation ]; then
    for scenes in 6 12; do
        "$python" -m src.train experiment=finetune run_root=runs/finetune name=scenes$scenes resume=auto \
            "data.sources.pairs=[$folders/scenes$scenes]" data.batches.samples_per_epoch=160 \
            trainer.precision=bf16-mixed
    done
fi
if [ "$part" != training ]; then
    for photographer in same_photographer other_photographer; do
        "$python" -m src.eval name=${photographer}_60 protocol='[crrn]' strength=60 cases=0 benchmark='[folder]' \
            benchmark.folder.root=$folders/$photographer "benchmark.folder.scene_pattern='([^_]+_[^_]+)'" \
            removers='{crrn_small: crrn-small, scenes6: runs/finetune/scenes6, scenes12: runs/finetune/scenes12}'
    done
    "$python" -m src.report name=finetune pictures=0 \
        evaluations='[evaluations/same_photographer_60,evaluations/other_photographer_60]' \
        runs='[runs/finetune/scenes6,runs/finetune/scenes12]' \
        'question="What does fine-tuning on one'"'"'s own pairs bring?"'
fi
