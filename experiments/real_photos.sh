#!/usr/bin/env bash
# What do formation models and real pairs bring on real photos? Three networks of width 0.25, the same seed, length,
# photos and validation scenes; evaluated once on SIR2, Real20 and Nature20.
#   experiments/real_photos.sh PHOTOS PAIRS BENCHMARKS [training|evaluation]
# One thread each: the length of a training is its CPU time.
set -euo pipefail
photos=$1 pairs=$2 benchmarks=$3 part=${4:-all}
python=${PYTHON:-python}

train() {
    OMP_NUM_THREADS=1 "$python" -m src.train experiment=photo run_root=runs/real_photos resume=auto logger=none \
        data.background="$photos" data.reflection="$photos" "data.sources.pairs=[$pairs]" \
        init=null net.encoder_width=null 'optimizer.freeze=[]' \
        stages.joint.epochs=4 data.batches.samples_per_epoch=4800 "$@"
}

if [ "$part" != evaluation ]; then
    train name=paper mixing=paper data.sources.pair_share=0 &
    train name=photo mixing=photo data.sources.pair_share=0 &
    train name=pairs &
    wait
fi
if [ "$part" != training ]; then
    "$python" -m src.eval name=real_photos benchmark='[sir2,real20,nature20]' protocol='[crrn,errnet]' \
        data_root="$benchmarks" removers='[runs/real_photos/paper,runs/real_photos/photo,runs/real_photos/pairs]'
    "$python" -m src.report name=real_photos evaluations='[evaluations/real_photos]' \
        runs='[runs/real_photos/paper,runs/real_photos/photo,runs/real_photos/pairs]' \
        pictures=3 quality=55 'question="What do formation models and real pairs bring on real photos?"'
fi
