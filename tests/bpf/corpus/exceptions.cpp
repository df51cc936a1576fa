// Stacks in the middle of unwinding, in handlers, and behind them.
#include "corpus.h"

#include <algorithm>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

struct Marker {
  ~Marker() { mark(); }
};

APART static void thrower(int depth) {
  Marker marker;
  if (depth == 0) throw std::runtime_error("here");
  thrower(depth - 1);
  STAY;
}

APART static void catcher() {
  try {
    thrower(4);
  } catch (const std::exception &error) {
    mark();
    try {
      thrower(1);
    } catch (...) {
      mark();
    }
  }
  mark();
}

int main(int argc, char **argv) {
  corpus_begin(argc, argv);
  catcher();
  std::vector<int> values = {3, 1, 2};
  std::sort(values.begin(), values.end(), [](int a, int b) {
    mark();
    return a < b;
  });
  std::function<void(int)> again = [&](int depth) {
    if (depth) again(depth - 1);
    else mark();
    STAY;
  };
  again(10);
  corpus_end();
}
