# Functions for the scripts beside this file, which source it from the root of the project.

stop() { echo "$(basename "$0"): $1" >&2; exit 1; }

# install_into FOLDER CONSTRAINTS PIP_ARGUMENTS...: make a virtual environment in FOLDER and install what is named.
# An environment whose interpreter is gone, as after an upgrade of Python, is made anew. Nothing is installed again while
# pyproject.toml, the constraints and the arguments are as before. A network that fails for a moment gets three tries.
# PYTHON names the interpreter of a new environment (default python3; 3.11 or later).
install_into() {
  local folder="$1" constraints="$2" python="${PYTHON:-python3}" wanted try
  shift 2
  if ! "$folder/bin/python" -m pip --version >/dev/null 2>&1; then
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
      || stop "needs Python 3.11 or later as python3; set PYTHON to such an interpreter"
    "$python" -m venv --clear "$folder" || stop "needs Python's venv module (Debian: apt-get install python3-venv)"
  fi
  wanted="$(cat pyproject.toml "$constraints" | sha256sum) $PWD $*"
  [ "$(cat "$folder/installed" 2>/dev/null)" != "$wanted" ] || return 0
  rm -f "$folder/installed"
  for try in 1 2 3; do
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --retries 10 --timeout 60 \
      --constraint "$constraints" "$@" && break
    [ "$try" -lt 3 ] || stop "pip could not install the packages; the lines above say why"
    echo "$(basename "$0"): the installation failed; trying again in $((try * 10)) s" >&2
    sleep $((try * 10))
  done
  echo "$wanted" >"$folder/installed"
}
