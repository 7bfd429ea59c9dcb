# Every target sets up what it needs: python3 and make are enough.
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Without bytecode every process compiles the package anew, and the tests start some hundred.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo test test-slow lint format figures results notebooks docs bench weights vendor requirements clean

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml requirements/dev.txt requirements/uv.txt
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "genmnist needs Python 3.11 or newer")'
	python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

# The main job: train the reference VAE on all of MNIST and draw with it, then with the bundled diffusion models; at the
# end, a page with all eight figures of the report, and one to play with the models.
demo: setup
	rm -rf demo
	$(BIN)/genmnist train vae --out demo/run
	cp demo/run/losses.png demo/figure-1-losses.png
	$(BIN)/genmnist evaluate vae --model demo/run --quick
	$(BIN)/genmnist sample vae --model demo/run --out demo/figure-2-samples.png
	$(BIN)/genmnist traverse vae --model demo/run --out demo/figure-3-traversal.png
	$(BIN)/genmnist interpolate vae --model demo/run --space latent --out demo/figure-4-latent-interpolation.png
	$(BIN)/genmnist interpolate vae --model demo/run --space pixel --out demo/figure-5-pixel-interpolation.png
	$(BIN)/genmnist sample ddpm --model bundled --out demo/ddpm-samples.png
	$(BIN)/genmnist reverse-trace ddpm --model bundled --out demo/figure-7-reverse-trace.png
	$(BIN)/genmnist sample cfg --model bundled --label 7 --guidance 3 --out demo/sevens.png
	$(BIN)/genmnist explore demo/run --out demo/explorer.html
	$(BIN)/genmnist report demo/run --out demo/report
	@echo "Open demo/report/index.html and demo/explorer.html. Next, for instance: $(BIN)/genmnist sample vae --model demo/run"

test: setup
	$(BIN)/pytest

test-slow: setup
	$(BIN)/pytest -m slow

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	@if [ -d node_modules ]; then npm run --silent lint; fi # the explorer's scripts, once `make vendor` has been run

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The pictures of the documentation, by the bundled models.
figures: setup
	$(BIN)/genmnist sample vae --model bundled --out docs/images/vae-samples.png
	$(BIN)/genmnist traverse vae --model bundled --from-digit 7 --out docs/images/vae-traversal.png
	$(BIN)/genmnist reconstruct vae --model bundled --out docs/images/vae-reconstructions.png
	rm -rf build/plane
	$(BIN)/genmnist train vae --latent 2 --epochs 6 --threads 1 --sample-every 0 --out build/plane
	$(BIN)/genmnist traverse vae --model build/plane --out docs/images/vae-plane.png
	$(BIN)/genmnist traverse vae --model build/plane --view codes --out docs/images/vae-codes.png
	$(BIN)/genmnist interpolate vae --model bundled --from-digits 6 1 --out docs/images/vae-interpolation.png
	$(BIN)/genmnist sample ddpm --model bundled --num 100 --out docs/images/ddpm-samples.png
	$(BIN)/genmnist reverse-trace ddpm --model bundled --show-x0 --out docs/images/ddpm-reverse-trace.png
	$(BIN)/genmnist interpolate ddpm --model bundled --from-digits 6 1 --out docs/images/ddpm-interpolation.png
	$(BIN)/genmnist sample cfg --model bundled --guidance 3 --per-class 6 --out docs/images/cfg-samples.png
	$(BIN)/genmnist sample few --model bundled --num 60 --out docs/images/few-samples.png
	$(BIN)/genmnist sample ddpm --model bundled --label 0-9 --classifier-guidance 4 --num 60 --out docs/images/ddpm-guided.png
	$(BIN)/genmnist sample cfg --model bundled --guidance-sweep -1,0,1,3,8 --out docs/images/cfg-sweep.png
	$(BIN)/genmnist interpolate cfg --model bundled --label 3,8 --pairs 2 --out docs/images/cfg-interpolation.png
	$(BIN)/genmnist complete ddpm --model bundled --digit 7 --mask left --out docs/images/ddpm-completions.png
	$(BIN)/genmnist edit cfg --model bundled --digit 3 --label 3,8,5 --strength 0.7 --guidance 3 --out docs/images/cfg-edits.png

# The measured figures of the bundled models, into README.md, docs/results.md and the models' cards: forty minutes.
results: setup
	$(BIN)/python scripts/results.py

# Run the five labs, and keep them with their outputs in notebooks/, from where the documentation takes them.
notebooks: setup
	$(BIN)/python scripts/notebooks.py

docs: setup
	$(BIN)/python scripts/reference.py
	$(BIN)/sphinx-build --fail-on-warning --nitpicky --quiet docs docs/_build
	@echo "Open docs/_build/index.html."

bench: setup
	$(BIN)/python bench/startup.py
	$(BIN)/python bench/vae_training.py
	$(BIN)/python bench/budget.py
	$(BIN)/python bench/parallel.py
	$(BIN)/python bench/scaling.py
	$(BIN)/python bench/memory.py
	$(BIN)/python bench/ddpm_quality.py
	$(BIN)/python bench/ddpm_sampling.py
	$(BIN)/python bench/sampling_profile.py
	$(BIN)/python bench/few_steps.py
	$(BIN)/python bench/cfg_sampling.py
	$(BIN)/python bench/guidance.py --figure docs/images/guidance.png
	$(BIN)/python bench/compression.py
	$(BIN)/python bench/outliers.py
	$(BIN)/python bench/explorer.py --picture docs/images/explorer.png
	OMP_NUM_THREADS=1 $(BIN)/python bench/completing.py
	OMP_NUM_THREADS=1 $(BIN)/python bench/editing.py

# Train again what ships in the package: six hours. The classifier is left as it is: every distance that was
# ever measured rests on its weights. (It came from `genmnist train classifier`, by the same script.)
weights: setup
	rm -rf build/weights
	$(BIN)/genmnist train vae --out build/weights/vae
	$(BIN)/python scripts/bundle.py build/weights/vae "genmnist train vae"
	cp build/weights/vae/losses.png docs/images/vae-losses.png
	$(BIN)/genmnist train ddpm --preset best --clusters 0 --out build/weights/ddpm
	$(BIN)/python scripts/bundle.py build/weights/ddpm "genmnist train ddpm --preset best --clusters 0"
	cp build/weights/ddpm/samples-by-epoch.png docs/images/ddpm-samples-by-epoch.png
	$(BIN)/genmnist train cfg --preset best --steps 20000 --out build/weights/cfg
	$(BIN)/python scripts/bundle.py build/weights/cfg "genmnist train cfg --preset best --steps 20000"
	cp build/weights/cfg/samples-by-epoch.png docs/images/cfg-samples-by-epoch.png
	$(BIN)/genmnist train ddpm --preset likelihood --threads 1 --out build/weights/ddpm-likelihood \
		--steps 12206,6579@1317,9213@3318,10124@4942,11463@6275,11608@7367
	$(BIN)/python scripts/bundle.py build/weights/ddpm-likelihood \
		"genmnist train ddpm --preset likelihood --budget 104m --threads 1" likelihood
	for model in "ddpm --clusters 0" cfg; do \
		command="genmnist train $$model --preset fast --size tiny --seed 1 --steps 2500 --threads 1"; \
		folder=build/weights/$${model%% *}-guide; \
		$(BIN)/$$command --out $$folder && $(BIN)/python scripts/bundle.py $$folder "$$command" guide || exit 1; \
	done
	$(BIN)/genmnist train ddpm --preset best --from src/genmnist/weights/ddpm.safetensors --clusters 100 --lr 2e-3 \
		--ema 0.999 --threads 1 --snapshots 8 --out build/weights/ddpm-clusters \
		--steps 2348,2416@485,2611@942,2763@1351,3023@1733,3100@1999,2988@2351,2909@2547,2877@2607,2927@2765
	$(BIN)/python scripts/bundle.py build/weights/ddpm-clusters \
		"genmnist train ddpm --preset best --from bundled --clusters 100 --lr 2e-3 --ema 0.999 --budget 60m --threads 1 --snapshots 8" \
		clusters
	$(BIN)/genmnist train few --from build/weights/ddpm-clusters/averages/00001605-0.05.safetensors --batch-size 64 \
		--halvings 6 --ema 0.999 --lr 7e-4 --threads 1 --out build/weights/few-clusters \
		--steps 1989,1852@372,1911@690,2183@1067,2387@1364,2519@1586,2440@1736,2478@1909,2523@2048,2564@2145,2538@2288
	$(BIN)/python scripts/bundle.py build/weights/few-clusters \
		"genmnist train few --from RUN/averages/00001605-0.05.safetensors --batch-size 64 --halvings 6 --ema 0.999 --lr 7e-4 --budget 52m --threads 1" \
		clusters
	$(BIN)/genmnist train few --from src/genmnist/weights/cfg.safetensors --batch-size 64 --halvings 6 --ema 0.999 \
		--threads 1 --out build/weights/few \
		--steps 6166,3468@696,3312@1196,2779@1360,2468@1555,2251@1720,2640@1997,2722@2138,2678@2327,2718@2558,2804@2662,2852@2786
	$(BIN)/python scripts/bundle.py build/weights/few \
		"genmnist train few --from cfg --batch-size 64 --halvings 6 --ema 0.999 --budget 122m --threads 1"
	$(BIN)/genmnist train classifier --noisy --out build/weights/classifier-noisy
	$(BIN)/python scripts/bundle.py build/weights/classifier-noisy "genmnist train classifier --noisy"

# What the explorer carries: onnxruntime for the browser, by node and npm, at the versions and checksums of
# package-lock.json, and the graphs of the bundled models; and the numbers that Python and JavaScript share.
vendor: setup
	npm ci
	$(BIN)/python scripts/vendor.py
	$(BIN)/python scripts/vectors.py

# Pin the newest versions that fit pyproject.toml.
requirements: $(BIN)/uv
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --upgrade --extra dev --extra docs \
		--custom-compile-command "make requirements" --output-file requirements/dev.txt pyproject.toml
	awk '/^uv==/ { found = 1; print; next } found && /^[^ ]/ { exit } found' requirements/dev.txt > requirements/uv.txt

$(BIN)/uv:
	python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv

clean:
	rm -rf $(VENV) node_modules build dist demo docs/_build docs/jupyter_execute docs/labs
