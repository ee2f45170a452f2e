// A baked model in C++: which class it is, and where the network looks.
// g++ -std=c++17 explain.cc -lonnxruntime -o explain && ./explain MODEL.onnx INPUT.raw HEATMAP.raw
#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>

size_t bytes(const Ort::Value& value, size_t each) { return value.GetTensorTypeAndShapeInfo().GetElementCount() * each; }

int main(int, char** argv) {
  Ort::Env env;
  Ort::Session session(env, argv[1], Ort::SessionOptions{});
  Ort::AllocatorWithDefaultOptions memory;
  auto input = session.GetInputNameAllocated(0, memory), scores = session.GetOutputNameAllocated(0, memory);
  auto shape = session.GetInputTypeInfo(0).GetTensorTypeAndShapeInfo().GetShape();
  std::replace_if(shape.begin(), shape.end(), [](int64_t length) { return length < 0; }, 1);  // open: one image
  auto x = Ort::Value::CreateTensor<float>(memory, shape.data(), shape.size());
  std::ifstream(argv[2], std::ios::binary).read(x.GetTensorMutableData<char>(), bytes(x, sizeof(float)));

  const char *inputs[] = {input.get()}, *outputs[] = {scores.get(), "heatmap"}, *chosen = "onnxcam.class.chosen";
  for (size_t i = 0; i < session.GetOutputCount(); ++i)  // of a segmentation; of a classifier it is the highest score
    if (std::string(session.GetOutputNameAllocated(i, memory).get()) == chosen) outputs[0] = chosen;
  auto y = session.Run(Ort::RunOptions{}, inputs, &x, 1, outputs, 2);

  const float* score = y[0].GetTensorData<float>();
  bool named = outputs[0] == chosen;
  std::printf("class %td\n", named ? *y[0].GetTensorData<int64_t>() : std::max_element(score, score + bytes(y[0], 1)) - score);
  bool quantised = y[1].GetTensorTypeAndShapeInfo().GetElementType() == ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
  std::ofstream(argv[3], std::ios::binary).write(y[1].GetTensorData<char>(), bytes(y[1], quantised ? 1 : sizeof(float)));
}
