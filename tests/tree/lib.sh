# Sourced by the tests of the source tree: complain WHAT, then ok NAME per check, finish at the end.
bad_=0 failed_=0
complain() { echo "$*" >&2; bad_=1; }
ok() { if [ $bad_ = 0 ]; then echo "ok $1"; else echo "FAIL $1"; failed_=1; bad_=0; fi; }
finish() { exit $failed_; }
