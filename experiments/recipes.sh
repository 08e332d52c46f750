#!/usr/bin/env bash
# Which recipe makes a network for real photos? Eight short trainings, each with one setting changed, judged on held-out scenes.
#   experiments/recipes.sh PHOTOS PAIRS ENCODER [training|report]
# ENCODER is a file of VGG16's weights, or imagenet. One thread and bfloat16: about 5 minutes of one core each on a CPU that
# computes in bfloat16. No test set is looked at: this chooses a recipe.
set -euo pipefail
photos=$1 pairs=$2 encoder=$3 part=${4:-all}
python=${PYTHON:-python}

train() {
    OMP_NUM_THREADS=1 "$python" -m src.train experiment=photo run_root=runs/recipes resume=auto logger=none \
        data.background="$photos" data.reflection="$photos" "data.sources.pairs=[$pairs]" \
        init="{iin.encoder: $encoder}" trainer.precision=bf16-mixed \
        stages.joint.epochs=4 data.batches.samples_per_epoch=1200 "$@"
}

if [[ $part == all || $part == training ]]; then
    train name=photo
    train name=photo_seed_2 seed=2
    train name=late_pairs 'data.sources.pair_share={0: 0, 0.6: 0.5}'
    train name=tone_matched data.sources.pair_tone=match
    train name=few_pairs data.sources.pair_share=0.125
    train name=many_pairs data.sources.pair_share=0.5
    train name=no_transfer mixing=photo
    train name=random_encoder init=null net.encoder_width=null 'optimizer.freeze=[]'
fi
if [[ $part == all || $part == report ]]; then
    runs=
    for name in photo photo_seed_2 late_pairs tone_matched few_pairs many_pairs no_transfer random_encoder; do
        runs+="${runs:+,}runs/recipes/$name"
    done
    "$python" -m src.report name=recipes runs="[$runs]" 'question="Which recipe makes a network for real photos?"'
fi
