#!/usr/bin/env bash
# All that a GPU is wanted for, on a machine that needs no network: the tests of tests/gpu, the measurements of suite=[gpu],
# then three recipes side by side at full width. README.md beside this file says what comes out.
#   experiments/gpu/run.sh PHOTOS PAIRS ENCODER OUT      folders of photos and of pairs, VGG16 weights, the output folder
#   experiments/gpu/run.sh --rehearse OUT                everything with tiny networks on demo photos, on a CPU
# Settings, by the environment: BUDGET=6min of each training, RECIPES="a b c", TESTS_S=100 and BENCH_S=75 (seconds at most; 0: leave
# out), PRECISION=int8, PART_MB=16, SIZES, BATCH, SCENES=null (held-out scenes; unset: those of data=photo), MORE (settings of all
# trainings), WORK (the folder of the runs; default: a temporary one), PYTHON.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python=${PYTHON:-python}
export PYTHONPATH="$PWD/src:$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
work=${WORK:-$(mktemp -d)}
mkdir -p "$work"

if [ "${1:-}" = --rehearse ]; then
    [ $# = 2 ] || { echo "error: give the output folder, as in experiments/gpu/run.sh --rehearse OUT" >&2; exit 2; }
    out=$2
    width=0.05 device=(trainer=default trainer.accelerator=cpu trainer.precision=32-true) bench=(toy=true)
    SIZES=${SIZES:-[48x48,48x64]} BATCH=${BATCH:-8} BUDGET=${BUDGET:-80s} SCENES=null PART_MB=${PART_MB:-0.1} TESTS_S=${TESTS_S:-600} BENCH_S=${BENCH_S:-600}
    MORE="data.validation.mixtures=4 data.validation.size=48x64 data.sources.held_out=0.25 net.encoder_width=$width ${MORE:-}"
    "$python" experiments/gpu/rehearsal.py "$work/demo" "$width" || exit 1
    photos=$work/demo/photos pairs=$work/demo/pairs encoder=$work/demo/encoder.safetensors
else
    [ $# = 4 ] || { echo "error: give PHOTOS PAIRS ENCODER OUT, or --rehearse OUT" >&2; exit 2; }
    photos=$1 pairs=$2 encoder=$3 out=$4
    width=1 device=(trainer=gpu data.loading.cache=device)
    # Compiling takes minutes, and is left out.
    bench=(suite.gpu.compiler=null suite.gpu.steps=60 seconds=3 repetitions=7)
fi
mkdir -p "$out"
out=$(cd "$out" && pwd)
rm -f "$work/trained"
failed=()

# step NAME SECONDS COMMAND...: its output in OUT/NAME.log; a failure is told at the end and stops nothing.
step() {
    local name=$1 seconds=$2 began=$SECONDS
    shift 2
    if timeout "$seconds" "$@" >"$out/$name.log" 2>&1; then
        echo "$name: done in $((SECONDS - began)) s" | tee -a "$out/steps.txt"
    else
        echo "$name: FAILED with status $? after $((SECONDS - began)) s; the end of $name.log:" | tee -a "$out/steps.txt"
        tail -n 5 "$out/$name.log"
        failed+=("$name")
    fi
}

# train NAME SETTING...: one training with a budget.
train() {
    local name=$1
    shift
    "$python" -m src.train experiment=photo "${device[@]}" run_root="$work" name="$name" resume=auto logger=none width="$width" \
        data.background="$photos" data.reflection="$photos" "data.sources.pairs=[$pairs]" \
        "data.batches.sizes=${SIZES:-[224x224,224x288,288x224]}" data.batches.batch_size="${BATCH:-16}" \
        ${SCENES:+data.validation.pair_scenes=$SCENES} stages.joint.learning_rate=3.0e-4 ${MORE:-} "$@"
}

recipe() {
    local whole=${BUDGET:-6min}
    case $1 in
        a) # the encoder frozen for two fifths of the time, then all of the network
            train a-frozen "init={iin.encoder: $encoder}" 'optimizer.freeze=[iin.encoder]' budget="$(part "$whole" 2/5)" &&
                train a "init={net: $work/a-frozen}" 'optimizer.freeze=[]' '+optimizer.lr_mult={iin.encoder: 0.1}' \
                    budget="$(part "$whole" 3/5)" ;;
        b) # pairs late, their background in the photo's colour
            train b "init={iin.encoder: $encoder}" 'optimizer.freeze=[]' '+optimizer.lr_mult={iin.encoder: 0.1}' \
                'data.sources.pair_share={0: 0.125, 0.6: 0.375}' data.sources.pair_tone=match budget="$whole" ;;
        c) # few pairs; half of the mixtures have the reflection of a real pair
            train c "init={iin.encoder: $encoder}" 'optimizer.freeze=[]' '+optimizer.lr_mult={iin.encoder: 0.1}' \
                data.sources.pair_share=0.125 mixing.weights.transfer=1 budget="$whole" ;;
        *) echo "error: RECIPES names $1; there are a, b and c" && return 2 ;;
    esac
}

# part TIME M/N: a part of a time such as 6min, in seconds.
part() {
    "$python" -c "
import sys
from fractions import Fraction
from crrn.cli.train import seconds_of
print(f'{float(Fraction(seconds_of(sys.argv[1])) * Fraction(sys.argv[2])):g}s')" "$1" "$2"
}

: >"$out/steps.txt"
{ nvidia-smi || true; "$python" -c 'import torch; print("torch", torch.__version__, "CUDA", torch.version.cuda)'; } >"$out/machine.txt" 2>&1
[ "${TESTS_S:=100}" = 0 ] || step tests "$TESTS_S" "$python" -m pytest -q -p no:cacheprovider tests/gpu
[ "${BENCH_S:=75}" = 0 ] || step bench "$BENCH_S" "$python" -m src.bench 'suite=[gpu]' "${bench[@]}" output="$out/bench"

runs=() trainings=()
for name in ${RECIPES:-a b c}; do
    recipe "$name" >"$out/$name.log" 2>&1 &
    trainings+=($!) runs+=("$work/$name")
done
"$python" experiments/gpu/export.py "$out" "$work/trained" "${PRECISION:-int8}" "${PART_MB:-16}" "${runs[@]}" >"$out/export.log" 2>&1 &
exporter=$!
names=(${RECIPES:-a b c})
for number in "${!trainings[@]}"; do
    name=${names[$number]}
    if wait "${trainings[$number]}"; then
        echo "training $name: done" | tee -a "$out/steps.txt"
    else
        echo "training $name: FAILED; the end of $name.log:" | tee -a "$out/steps.txt"
        tail -n 5 "$out/$name.log"
        failed+=("$name")
    fi
done
touch "$work/trained"
wait "$exporter" || failed+=(export)
cat "$out/export.log"
if [ ${#failed[@]} -gt 0 ]; then
    echo "FAILED: ${failed[*]}" | tee -a "$out/steps.txt"
    exit 1
fi
echo "all done in $SECONDS s" | tee -a "$out/steps.txt"
