// Burns CPU time in calls that the compiler inlines three deep: mix in twice in work.
#include <cstdlib>
#include <ctime>
#include <vector>

static inline unsigned long mix(unsigned long x) {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdUL;
  return x ^ (x >> 29);
}

static inline unsigned long twice(unsigned long x) {
  return mix(mix(x) + 7);
}

__attribute__((noinline)) unsigned long work(const std::vector<unsigned long>& v) {
  unsigned long s = 0;
  for (auto x : v)
    s += twice(x);
  return s;
}

int main(int, char** argv) {
  std::vector<unsigned long> v(100000, 1);
  unsigned long sum = 0;
  while (clock() < atof(argv[1]) * CLOCKS_PER_SEC)
    v[sum & 1023] += sum += work(v);
  return sum == 0;
}
