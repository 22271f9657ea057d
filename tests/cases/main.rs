mod c01;mod c03;mod c04;
