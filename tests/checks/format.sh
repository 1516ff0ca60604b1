#!/bin/bash
#
# Check that every C++ file of the tree is as clang-format leaves it (.clang-format, version 15 to 19).
#
#     format.sh SOURCE_DIRECTORY [CLANG_FORMAT]
#
# Looks at the files that git tracks (where there is no repository: at all under src and tests). Names
# each file that differs, and ends with 1.

set -euo pipefail
cd "$1"
format=${2:-clang-format-19}

# The owner of the tree does not matter for reading its list of files.
mapfile -t files < <(
    git -c safe.directory='*' ls-files '*.cpp' '*.h' 2>/dev/null \
        || find src tests -name '*.cpp' -o -name '*.h')
if [ ${#files[@]} -eq 0 ]; then
    echo "no C++ files are here" >&2
    exit 1
fi
bad=0
for file in "${files[@]}"; do
    if [ -e "$file" ] && ! "$format" --dry-run -Werror --style=file "$file" 2>/dev/null; then
        echo "not formatted: $file"
        bad=1
    fi
done
echo "${#files[@]} files looked at"
exit $bad
