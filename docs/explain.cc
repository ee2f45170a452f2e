// A baked model in C++, float or int8: which class it is, and where the network looks.
// g++ -std=c++17 explain.cc -lonnxruntime -o explain && ./explain MODEL.onnx INPUT.raw HEATMAP.raw
#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>

int main(int, char** argv) {
  Ort::Env env;
  Ort::Session session(env, argv[1], Ort::SessionOptions{});
  Ort::AllocatorWithDefaultOptions memory;
  auto input = session.GetInputNameAllocated(0, memory), scores = session.GetOutputNameAllocated(0, memory);
  auto info = session.GetInputTypeInfo(0);
  auto shape = info.GetTensorTypeAndShapeInfo().GetShape();
  std::replace_if(shape.begin(), shape.end(), [](int64_t length) { return length < 0; }, 1);  // open: one image
  auto x = Ort::Value::CreateTensor(memory, shape.data(), shape.size(), info.GetTensorTypeAndShapeInfo().GetElementType());
  std::ifstream(argv[2], std::ios::binary).read(static_cast<char*>(x.GetTensorMutableRawData()), x.GetTensorSizeInBytes());

  const char *inputs[] = {input.get()}, *outputs[] = {scores.get(), "heatmap"}, *chosen = "onnxcam.class.chosen";
  for (size_t i = 0; i < session.GetOutputCount(); ++i)  // of a segmentation; of a classifier it is the highest score
    if (std::string(session.GetOutputNameAllocated(i, memory).get()) == chosen) outputs[0] = chosen;
  auto y = session.Run(Ort::RunOptions{}, inputs, &x, 1, outputs, 2);

  auto told = y[0].GetTensorTypeAndShapeInfo();
  auto type = told.GetElementType();
  auto best = [&](auto* score) { return std::max_element(score, score + told.GetElementCount()) - score; };
  long found = outputs[0] == chosen                          ? *y[0].GetTensorData<int64_t>()
               : type == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8  ? best(y[0].GetTensorData<int8_t>())
               : type == ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 ? best(y[0].GetTensorData<uint8_t>())
                                                             : best(y[0].GetTensorData<float>());
  std::printf("class %ld\n", found);
  std::ofstream(argv[3], std::ios::binary).write(static_cast<const char*>(y[1].GetTensorRawData()), y[1].GetTensorSizeInBytes());
}
