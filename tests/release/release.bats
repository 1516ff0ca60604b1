#!/usr/bin/env bats
#
# What scripts/release makes, for this machine's architecture, and what `meson install` installs. Tests
# the last commit, as scripts/release does; a difference to the working tree does not show here. Last, that
# the working tree can be built for 32 bits.

bats_require_minimum_version 1.5.0

setup_file() {
    export top=$BATS_TEST_DIRNAME/../..
    if ! git -C "$top" rev-parse HEAD >/dev/null; then
        skip "there is no commit to release"
    fi
    # Twice, in folders whose names differ in length, as callers who differ in all that could leak in.
    export first=$BATS_FILE_TMPDIR/first second=$BATS_FILE_TMPDIR/second
    (umask 022 && "$top/scripts/release" --output "$first" x86_64)
    git clone -q "$top" "$BATS_FILE_TMPDIR/a copy in a folder with a longer name"
    (
        umask 077
        export TZ=Asia/Kolkata LANG=en_US.UTF-8 HOME=$BATS_FILE_TMPDIR USER=somebody
        export TMPDIR=$BATS_FILE_TMPDIR
        cd "$BATS_FILE_TMPDIR/a copy in a folder with a longer name"
        sleep 1 # so that no time of a file can be the same by chance
        scripts/release --output "$second" x86_64
    )
}

# Reports a failed expectation. Usage: expect WHAT GOT WANTED
expect() {
    if [ "$2" != "$3" ]; then
        printf '%s: got [%s], wanted [%s]\n' "$1" "$2" "$3" >&2
        return 1
    fi
}

# Makes a package of the files given, for the tests of dpkg. Usage: make_package NAME "FIELDS" [FILE...]
make_package() {
    local tree=$BATS_TEST_TMPDIR/$1 file
    mkdir -p "$tree/DEBIAN"
    printf 'Package: %s\nArchitecture: amd64\nMaintainer: nobody\nDescription: for a test\n%b\n' \
        "$1" "$2" >"$tree/DEBIAN/control"
    for file in "${@:3}"; do
        mkdir -p "$tree/$(dirname "$file")"
        echo "of package $1" >"$tree/$file"
    done
    dpkg-deb --root-owner-group --build "$tree" "$BATS_TEST_TMPDIR/$1.deb" >/dev/null
}

@test "two runs in different folders give the same bytes" {
    expect 'number of files' "$(find "$first" -type f | wc -l)" 6
    diff -r "$first" "$second"
}

@test "the sums are of every file, and right" {
    cd "$first"
    sha256sum --check --strict SHA256SUMS
    expect 'files with a sum' "$(awk '{print $2}' SHA256SUMS | sort)" "$(ls -I SHA256SUMS | sort)"
}

@test "the source is the last commit, with one time and no owner" {
    local listed
    listed=$(tar --numeric-owner --full-time -tvf "$first"/mote-*.tar.gz)
    expect owners "$(awk '{print $2}' <<<"$listed" | sort -u)" 0/0
    expect times "$(awk '{print $4, $5}' <<<"$listed" | sort -u | wc -l)" 1
    mkdir "$BATS_TEST_TMPDIR/source"
    tar -C "$BATS_TEST_TMPDIR/source" --strip-components=1 -xf "$first"/mote-*.tar.gz
    expect files "$(cd "$BATS_TEST_TMPDIR/source" && find . -type f | sort)" \
        "$(git -C "$top" ls-tree -r --name-only --full-tree HEAD | sed 's,^,./,' | sort)"
}

@test "the program is static, stripped, knows no folder of the build, and says its version" {
    local program
    program=$(echo "$first"/conmon-*-x86_64)
    expect libraries "$(readelf -dW "$program" | grep NEEDED || true)" ''
    expect symbols "$(readelf -SW "$program" | grep -E '\.symtab|\.debug' || true)" ''
    expect folders "$(strings "$program" | grep -E '/tmp/|/root/|mote-release' || true)" ''
    run -0 --separate-stderr "$program" --version
    expect 'first line' "${lines[0]}" 'conmon version 2.2.1'
    expect 'second line' "commit: mote $(basename "$program" | cut -d - -f 2)" "${lines[1]}"
}

@test "the Debian package takes conmon's place while Podman stays, and gives it back" {
    local root=$BATS_TEST_TMPDIR/root
    mkdir -p "$root"/var/lib/dpkg/{updates,info}
    touch "$root"/var/lib/dpkg/{status,available}
    dpkg_there() { dpkg --root="$root" --force-not-root --log=/dev/null --no-triggers "$@"; }
    make_package conmon 'Version: 2.1.6+ds1-1' usr/bin/conmon usr/share/man/man8/conmon.8.gz
    make_package podman 'Version: 5.0\nDepends: conmon (>= 2.0.18~)' usr/bin/podman
    dpkg_there --install "$BATS_TEST_TMPDIR/conmon.deb" "$BATS_TEST_TMPDIR/podman.deb"

    dpkg_there --install "$first"/mote_*_amd64.deb
    expect 'version said' "$("$root/usr/bin/conmon" --version | head -n 1)" 'conmon version 2.2.1'
    expect 'state of podman' "$(dpkg-query --admindir="$root/var/lib/dpkg" -W -f '${Status}' podman)" \
        'install ok installed'
    [[ "$(dpkg-query --admindir="$root/var/lib/dpkg" -W -f '${Status}' conmon)" != *' installed' ]]
    expect 'files of the package that differ' "$(dpkg_there --verify mote)" ''

    # As apt does it; dpkg by itself asks for mote to be removed first.
    dpkg_there --force-depends --remove mote
    dpkg_there --install "$BATS_TEST_TMPDIR/conmon.deb"
    expect 'what is there' "$(<"$root/usr/bin/conmon")" 'of package conmon'
    expect 'state of podman' "$(dpkg-query --admindir="$root/var/lib/dpkg" -W -f '${Status}' podman)" \
        'install ok installed'
    [ ! -e "$root/usr/share/doc/mote" ]
}

@test "the list of parts names the program, what is in it, and the licences" {
    local list
    list=$(echo "$first"/mote-*-x86_64.spdx.json)
    expect version "$(jq -r .spdxVersion "$list")" SPDX-2.3
    expect parts "$(jq -r '[.packages[].name] | sort | join(" ")' "$list")" 'libc++ mote musl'
    expect 'licence of musl' "$(jq -r '.packages[] | select(.name == "musl").licenseDeclared' "$list")" MIT
    expect 'version of musl' "$(jq -r '.packages[] | select(.name == "musl").versionInfo' "$list")" \
        "$(dpkg-query -W -f '${Version}' musl-dev | cut -d - -f 1)"
    expect 'sum of the program' \
        "$(jq -r '.files[0].checksums[] | select(.algorithm == "SHA256").checksumValue' "$list")" \
        "$(sha256sum "$first"/conmon-*-x86_64 | cut -d ' ' -f 1)"
    # What a relation speaks of is there.
    expect 'unknown identifiers' "$(jq -r '
        ([.SPDXID] + [.packages[].SPDXID] + [.files[].SPDXID]) as $known
        | .relationships[] | .spdxElementId, .relatedSpdxElement | select(IN($known[]) | not)' "$list")" ''
}

@test "Alpine's recipe can be read by a shell, and has the version and the sum" {
    sh -n "$first/APKBUILD"
    (
        # shellcheck disable=SC1091
        . "$first/APKBUILD"
        expect source "$first/$source" "$(echo "$first"/mote-*.tar.gz)"
        cd "$first"
        sha512sum --check --strict <<<"$sha512sums"
    )
}

@test "Alpine's recipe builds the same program where musl is the system's own" {
    # Alpine's places and names: a system's root of musl, and a clang++ that builds for it.
    local system=$BATS_TEST_TMPDIR/system source=$BATS_TEST_TMPDIR/source compiler
    mkdir -p "$system/usr" "$BATS_TEST_TMPDIR/bin" "$source"
    ln -s /usr/include/x86_64-linux-musl "$system/usr/include"
    ln -s /usr/lib/x86_64-linux-musl "$system/usr/lib"
    for compiler in clang clang++; do
        printf '#!/bin/sh\nexec %s-19 --target=x86_64-alpine-linux-musl --sysroot="%s" "$@"\n' \
            "$compiler" "$system" >"$BATS_TEST_TMPDIR/bin/$compiler"
    done
    chmod 755 "$BATS_TEST_TMPDIR/bin"/*
    ln -s "$(command -v ld.lld-19)" "$BATS_TEST_TMPDIR/bin/ld.lld"
    printf "[constants]\nsysroot = '%s'\nlibcxx_include = '/usr/lib/llvm-19/include/c++/v1'\n" "$system" \
        >"$BATS_TEST_TMPDIR/places.ini"
    tar -C "$source" --strip-components=1 -xf "$first"/mote-*.tar.gz
    (
        PATH=$BATS_TEST_TMPDIR/bin:$PATH
        default_prepare() { :; }
        meson() {
            if [ "$1" = setup ]; then
                set -- "$@" --native-file "$BATS_TEST_TMPDIR/places.ini"
            fi
            command meson "$@"
        }
        cd "$source"
        # shellcheck disable=SC1091
        . "$first/APKBUILD"
        prepare
        build
    )
    cmp "$source/output/conmon" "$first"/conmon-*-x86_64
}

@test "meson installs the program, its manual and mote-upgrade, where it is told to" {
    local there=$BATS_TEST_TMPDIR/there
    meson setup "$BATS_TEST_TMPDIR/build" "$top" --native-file "$top/scripts/musl.ini" \
        --prefix /opt/mote -Dbindir=libexec/podman
    ninja -C "$BATS_TEST_TMPDIR/build"
    DESTDIR=$there meson install -C "$BATS_TEST_TMPDIR/build" --no-rebuild
    expect files "$(cd "$there" && find . -type f -printf '%m %p\n' | sort)" \
        $'644 ./opt/mote/share/man/man8/conmon.8\n755 ./opt/mote/bin/mote-top\n755 ./opt/mote/bin/mote-upgrade\n755 ./opt/mote/libexec/podman/conmon'
    "$there/opt/mote/libexec/podman/conmon" --version
}

@test "it is built for a processor of 32 bits too, and runs" {
    (cd "$top" && scripts/cross i686)
    expect version "$("$top/build-i686/conmon" --version | head -n 1)" 'conmon version 2.2.1'
}
