#include "server/shared_map.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <vector>

namespace millrace::server {
namespace {

using Map = SharedMap<int, std::string>;
using Model = std::map<int, std::string>;

void ExpectEqual(const Map& map, const Model& model) {
  ASSERT_EQ(map.size(), model.size());
  ASSERT_TRUE(std::equal(map.begin(), map.end(), model.begin(),
                         [](const auto& a, const auto& b) { return a.first == b.first && a.second == b.second; }));
}

// Each step changes one of several copies; all of them have to stay what they were made.
TEST(SharedMap, IsASortedMapAndSoAreItsCopies) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937_64 random(seed);
    const int keys = seed % 2 == 0 ? 5000 : 300;
    std::vector<std::pair<Map, Model>> copies(4);
    for (int step = 0; step < 4000; ++step) {
      auto& [map, model] = copies[random() % copies.size()];
      const int key = static_cast<int>(random() % static_cast<uint64_t>(keys));
      const uint64_t choice = random() % 100;
      if (choice < 2) {
        copies[random() % copies.size()] = {map, model};
      } else if (choice < (step < 2000 ? 70u : 35u)) {
        map.Set(key, std::to_string(step));
        model[key] = std::to_string(step);
      } else if (choice < 95) {
        EXPECT_EQ(map.Erase(key), model.erase(key) == 1);
      } else {
        const std::string* found = map.Find(key);
        ASSERT_EQ(found != nullptr, model.contains(key));
        EXPECT_TRUE(found == nullptr || *found == model.at(key));
      }
    }
    for (const auto& [map, model] : copies) ExpectEqual(map, model);
  }
}

TEST(SharedMap, IsEmptiedAndFilledAgain) {
  Map map;
  EXPECT_EQ(map.Find(1), nullptr);
  EXPECT_FALSE(map.Erase(1));
  EXPECT_EQ(map.begin(), map.end());
  for (int round = 0; round < 2; ++round) {
    for (int key = 999; key >= 0; --key) map.Set(key, "x");
    EXPECT_EQ(map.size(), 1000u);
    for (int key = 0; key < 1000; ++key) EXPECT_TRUE(map.Erase(key));
    EXPECT_TRUE(map.empty());
    EXPECT_EQ(map.begin(), map.end());
  }
}

TEST(SharedMap, CopiesShareWhatDidNotChange) {
  Map map;
  for (int key = 0; key < 10'000; ++key) map.Set(key, "x");
  Map copy = map;
  copy.Set(0, "y");
  EXPECT_EQ(*map.Find(0), "x");
  EXPECT_NE(copy.Find(1), map.Find(1)) << "beside the change";
  int shared = 0;
  for (int key = 0; key < 10'000; ++key) shared += copy.Find(key) == map.Find(key) ? 1 : 0;
  EXPECT_GT(shared, 9'700);
}

TEST(SharedMap, ComparesByContents) {
  Map up, down;
  for (int key = 0; key < 1000; ++key) up.Set(key, "x");
  for (int key = 999; key >= 0; --key) down.Set(key, "x");
  EXPECT_EQ(up, down);
  down.Set(500, "y");
  EXPECT_NE(up, down);
  down.Erase(500);
  EXPECT_NE(up, down);
}

}  // namespace
}  // namespace millrace::server
